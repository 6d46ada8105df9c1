//! How each kind of fault is done.

use super::budget::Harm;
use super::{FaultKind, Faults, Heal, Later, RunAction, foreign};
use crate::cluster::Cluster;
use crate::disk::{OneShot, Rot};
use crate::network::{Way, WriterId};
use redoubt_volume::ids::NodeId;
use redoubt_volume::message::Request;
use std::time::Duration;

/// What a fault leads to; none when it could not be done.
pub(super) type Injected = Option<(RunAction, Vec<Later>)>;

fn nothing_later() -> Injected {
    Some((RunAction::Nothing, Vec::new()))
}

fn later(after: Duration, heal: Heal) -> Injected {
    Some((RunAction::Nothing, vec![Later { after, heal }]))
}

impl Faults {
    pub(super) fn inject(
        &mut self,
        kind: FaultKind,
        cluster: &mut Cluster,
        writer: Option<WriterId>,
    ) -> (RunAction, Vec<Later>) {
        let done = match kind {
            FaultKind::LostUnsynced
            | FaultKind::TornWrite
            | FaultKind::ReorderedWrite
            | FaultKind::UndeletedFile
            | FaultKind::Drop
            | FaultKind::Duplicate
            | FaultKind::Delay
            | FaultKind::Reorder
            | FaultKind::SlowRead => None,
            FaultKind::FailedAppend => self.arm(cluster, OneShot::FailAppend),
            FaultKind::FailedSuperblock => self.arm(cluster, OneShot::FailSuperblock),
            FaultKind::LostWrite => self.arm(cluster, OneShot::LoseWrite),
            FaultKind::MisdirectedWrite => self.arm(cluster, OneShot::MisdirectWrite),
            FaultKind::MisdirectedRead => self.arm(cluster, OneShot::MisdirectRead),
            FaultKind::PassingReadError => self.arm(cluster, OneShot::FailRead),
            FaultKind::StickyReadError => self.rot(cluster, Rot::Unreadable),
            FaultKind::BitRot => self.rot(cluster, Rot::Bit),
            FaultKind::ZeroedSector => self.rot(cluster, Rot::Zeros),
            FaultKind::StalePage => self.rot(cluster, Rot::Stale),
            FaultKind::SuperblockRot => self.rot_superblock(cluster),
            FaultKind::NoSpace => self.no_space(cluster),
            FaultKind::SlowDisk | FaultKind::StuckDisk => self.slow_disk(kind, cluster),
            FaultKind::FileGone
            | FaultKind::FileShort
            | FaultKind::FileLong
            | FaultKind::ForeignFile => self.change_file(kind, cluster),
            FaultKind::RolledBack | FaultKind::EarlierLife => self.roll_back(kind, cluster),
            FaultKind::EmptiedDirectory => self.empty_directory(cluster),
            FaultKind::OneWayCut | FaultKind::NodeCut => self.cut_node(kind, cluster),
            FaultKind::ZoneCut => self.cut_zone(cluster),
            FaultKind::SlowPeer => self.slow_peer(cluster),
            FaultKind::Replay => self.replay(cluster),
            FaultKind::NodeCrash | FaultKind::NodePowerCut | FaultKind::NodePause => {
                self.stop_one(kind, cluster)
            }
            FaultKind::ZonePowerCut => self.cut_power_of_zone(cluster),
            FaultKind::CrashAtEffect => self.crash_at_effect(cluster),
            FaultKind::HalfConfigured => self.half_configure(cluster),
            FaultKind::Checkpoint => self.checkpoint(cluster),
            FaultKind::ReplaceNode => {
                let action = self.replace_node(cluster);
                action.map(|action| (action, Vec::new()))
            }
            FaultKind::AddNodes | FaultKind::SpreadGroups | FaultKind::DrainNode => {
                self.move_groups(kind, cluster)
            }
            _ => self.whole(kind, writer),
        };
        if done.is_some() && kind != FaultKind::CrashAtEffect {
            self.counts.add(kind, 1);
            cluster.tell(|| format!("FAULT {}", kind.name()));
        }
        done.unwrap_or((RunAction::Nothing, Vec::new()))
    }

    /// What happens to the writer, or to everything.
    fn whole(&mut self, kind: FaultKind, writer: Option<WriterId>) -> Injected {
        writer?;
        let pause = self.a_while(50, 3_000);
        let action = match kind {
            FaultKind::PowerCut => RunAction::CutPower,
            FaultKind::WriterCrash => RunAction::CrashWriter,
            FaultKind::WriterPause => RunAction::PauseWriter(pause),
            FaultKind::Takeover => RunAction::Takeover((!self.random.one_in(3)).then_some(pause)),
            FaultKind::CleanClose => RunAction::Close,
            _ => return None,
        };
        Some((action, Vec::new()))
    }

    fn a_while(&mut self, least_millis: u64, most_millis: u64) -> Duration {
        // Short ones are as interesting as long ones.
        let most = if self.random.one_in(3) {
            most_millis
        } else {
            most_millis / 8
        };
        Duration::from_millis(
            self.random
                .between(least_millis, most.max(least_millis + 1)),
        )
    }

    /// A node that runs and is neither harmed nor away.
    pub(super) fn some_node(&mut self, cluster: &Cluster) -> Option<NodeId> {
        let nodes = (0..cluster.seats() as u16).map(NodeId);
        let usable = nodes.filter(|node| {
            let host = &cluster.hosts[node.index()];
            host.node.is_some()
                && host.disk.is_some()
                && !self.budget.is_bad(*node)
                && !self.budget.is_away(*node)
        });
        let usable: Vec<NodeId> = usable.collect();
        self.random.pick(&usable).copied()
    }

    fn zone_of(&mut self, cluster: &Cluster) -> Vec<NodeId> {
        let per_zone = cluster.shape.nodes_per_zone;
        let zone = self.random.index(3);
        let of_zone = (zone * per_zone..(zone + 1) * per_zone).map(|index| NodeId(index as u16));
        of_zone.collect()
    }

    fn arm(&mut self, cluster: &mut Cluster, shot: OneShot) -> Injected {
        let node = self.some_node(cluster)?;
        let (harm, may_recover) = match shot {
            OneShot::LoseWrite | OneShot::MisdirectWrite => (Harm::Lying, false),
            OneShot::FailAppend | OneShot::FailSuperblock => (Harm::Destroyed, false),
            OneShot::FailRead | OneShot::MisdirectRead => (Harm::Destroyed, true),
        };
        if !self.budget.allows_harm(&[node], harm) {
            return None;
        }
        self.budget.harm(cluster, node, harm, may_recover);
        let disk = cluster.hosts[node.index()].disk.as_mut()?;
        disk.damage.armed.push(shot);
        cluster.tell(|| format!("{node:?}: {shot:?} from now on"));
        let disarm = Later {
            after: Duration::from_millis(150),
            heal: Heal::Disarm(node, shot),
        };
        let mut all = vec![disarm];
        if harm == Harm::Lying {
            all.extend(self.replaced_later(node));
        }
        Some((RunAction::Nothing, all))
    }

    /// Somebody notices and replaces the directory; or nobody does before the run ends.
    pub(super) fn replaced_later(&mut self, node: NodeId) -> Option<Later> {
        let after = self.a_while(200, 3_000);
        let heal = Heal::Replace(node);
        (!self.random.one_in(4)).then_some(Later { after, heal })
    }

    fn no_space(&mut self, cluster: &mut Cluster) -> Injected {
        let count = 1 + self.random.index(cluster.seats());
        let after = self.a_while(100, 3_000);
        let mut heals = Vec::new();
        for index in 0..count {
            if let Some(disk) = &mut cluster.hosts[index].disk {
                let more = self.random.below(1 << 20) as usize;
                disk.damage.capacity = Some(disk.log_bytes() + more);
                let heal = Heal::Space(NodeId(index as u16));
                heals.push(Later { after, heal });
            }
        }
        Some((RunAction::Nothing, heals))
    }

    fn slow_disk(&mut self, kind: FaultKind, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        let disk = cluster.hosts[node.index()].disk.as_mut()?;
        if kind == FaultKind::StuckDisk {
            disk.damage.stuck = true;
            return later(self.a_while(20, 5_000), Heal::Unstick(node));
        }
        disk.damage.slowness = self.random.between(10, 1_000) as u32;
        later(self.a_while(20, 3_000), Heal::Unslow(node))
    }

    fn change_file(&mut self, kind: FaultKind, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        let harmless = kind == FaultKind::FileLong;
        if !harmless && !self.budget.allows_harm(&[node], Harm::Lying) {
            return None;
        }
        if harmless && !self.budget.allows_absence(&[node]) {
            return None;
        }
        cluster.cut_power_of(node);
        let disk = cluster.hosts[node.index()].disk.as_mut()?;
        let file = disk.some_extent(&mut self.random)?;
        match kind {
            FaultKind::FileGone => disk.lose_file(file),
            FaultKind::FileShort => {
                let random = &mut self.random;
                disk.resize_file(file, |pages| random.index(pages.max(1)));
            }
            FaultKind::FileLong => disk.resize_file(file, |pages| pages + 37),
            _ => {
                if !disk.swap_file(file, foreign::image(node)?) {
                    return None;
                }
            }
        }
        cluster.tell(|| format!("{node:?}: {} {file:?}", kind.name()));
        if harmless {
            return nothing_later();
        }
        self.budget.harm(cluster, node, Harm::Lying, false);
        Some((
            RunAction::Nothing,
            self.replaced_later(node).into_iter().collect(),
        ))
    }

    /// Takes a snapshot of some disk, or brings an earlier one back.
    fn roll_back(&mut self, kind: FaultKind, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        let disk = cluster.hosts[node.index()].disk.as_ref()?;
        let life = disk.superblock()?.incarnation;
        let image = disk.image().clone();
        let snapshots = self.snapshots.entry(node).or_default();
        let same_life = kind == FaultKind::RolledBack;
        let old = snapshots
            .iter()
            .find(|(other, _)| (*other == life) == same_life);
        let old = old.map(|(_, image)| image.clone());
        if snapshots.len() < 4 {
            snapshots.push((life, image));
        }
        let harm = if same_life {
            Harm::Lying
        } else {
            Harm::Destroyed
        };
        if !self.budget.allows_harm(&[node], harm) {
            return None;
        }
        let old = old?;
        self.budget.harm(cluster, node, harm, same_life);
        cluster.stop_node(node);
        cluster.tell(|| format!("{node:?} is as it was before"));
        let disk = cluster.hosts[node.index()].disk.as_mut()?;
        disk.roll_back(old);
        let life = disk.superblock().map(|superblock| superblock.incarnation);
        cluster.laws.excuse(node, life, false);
        nothing_later()
    }

    fn empty_directory(&mut self, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_harm(&[node], Harm::Destroyed) {
            return None;
        }
        self.budget.harm(cluster, node, Harm::Destroyed, false);
        cluster.stop_node(node);
        cluster.hosts[node.index()].disk = None;
        later(self.a_while(10, 3_000), Heal::Replace(node))
    }

    fn cut_node(&mut self, kind: FaultKind, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        let both = [Way::ToNode, Way::ToWriter];
        let ways = match kind {
            FaultKind::OneWayCut => &both[self.random.index(2)..][..1],
            _ => &both,
        };
        let noticed = self.random.one_in(2);
        cluster.tell(|| format!("{node:?} is cut off: {ways:?}"));
        cluster.cut_off(node, ways, noticed);
        later(self.a_while(20, 6_000), Heal::Mend(node))
    }

    fn cut_zone(&mut self, cluster: &mut Cluster) -> Injected {
        let nodes = self.zone_of(cluster);
        if !self.budget.allows_absence(&nodes) {
            return None;
        }
        let (noticed, after) = (self.random.one_in(2), self.a_while(20, 6_000));
        let mut heals = Vec::new();
        for node in nodes {
            if !self.budget.is_away(node) {
                self.budget.leaves(node);
                cluster.cut_off(node, &[Way::ToNode, Way::ToWriter], noticed);
                let heal = Heal::Mend(node);
                heals.push(Later { after, heal });
            }
        }
        Some((RunAction::Nothing, heals))
    }

    fn slow_peer(&mut self, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        let delay = Duration::from_millis(self.random.between(1, 400));
        cluster.network.set_slow(node, Some(delay));
        later(self.a_while(50, 4_000), Heal::UnslowPeer(node))
    }

    /// A message of an earlier epoch arrives, from nowhere.
    fn replay(&mut self, cluster: &mut Cluster) -> Injected {
        let old = |(node, request): &&(NodeId, Request)| {
            let host = &cluster.hosts[node.index()];
            let promised = host.node.as_ref().map(|node| node.superblock().promised);
            promised.is_some_and(|promised| request.epoch() < promised)
        };
        let old: Vec<_> = cluster.recorded.iter().filter(old).cloned().collect();
        let (node, request) = self.random.pick(&old)?.clone();
        cluster.deliver_request(node, request);
        nothing_later()
    }

    fn stop_one(&mut self, kind: FaultKind, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        let pause = self.a_while(1, 4_000);
        if kind == FaultKind::NodePause {
            cluster.pause_node(node, pause);
            return later(pause, Heal::Back(node));
        }
        if kind == FaultKind::NodeCrash {
            cluster.crash_node(node);
        } else {
            cluster.cut_power_of(node);
        }
        cluster.hosts[node.index()].held_down = true;
        later(pause, Heal::Start(node))
    }

    fn cut_power_of_zone(&mut self, cluster: &mut Cluster) -> Injected {
        let nodes = self.zone_of(cluster);
        if !self.budget.allows_absence(&nodes) {
            return None;
        }
        let after = self.a_while(1, 4_000);
        let mut heals = Vec::new();
        for node in nodes {
            if !self.budget.is_away(node) {
                self.budget.leaves(node);
                cluster.cut_power_of(node);
                cluster.hosts[node.index()].held_down = true;
                let heal = Heal::Start(node);
                heals.push(Later { after, heal });
            }
        }
        Some((RunAction::Nothing, heals))
    }

    /// A single node takes a new configuration; then its writer dies, and the node is away while
    /// the next writer has the volume open.
    fn half_configure(&mut self, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        cluster.configures_only = Some(node);
        let after = self.a_while(200, 3_000);
        let heal = Heal::StartForNextWriter(node);
        Some((RunAction::Resize, vec![Later { after, heal }]))
    }

    fn crash_at_effect(&mut self, cluster: &mut Cluster) -> Injected {
        let effects = 1 + self.random.below(60) as u32;
        if self.random.one_in(3) {
            return Some((RunAction::LightFuse(effects), Vec::new()));
        }
        let node = self.some_node(cluster)?;
        self.dies_soon(cluster, node, effects)
    }

    fn dies_soon(&mut self, cluster: &mut Cluster, node: NodeId, effects: u32) -> Injected {
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        cluster.light_fuse(node, effects);
        later(self.a_while(100, 1_000), Heal::Start(node))
    }

    /// A node is to write its index down, and dies in the middle of it or soon after; half of them
    /// when a discard has overtaken a fold.
    fn checkpoint(&mut self, cluster: &mut Cluster) -> Injected {
        let node = self.some_node(cluster)?;
        if self.random.one_in(2) {
            cluster.want_checkpoint(node);
            let effects = 1 + self.random.below(40) as u32;
            return self.dies_soon(cluster, node, effects).or(nothing_later());
        }
        if !self.budget.allows_absence(&[node]) {
            return None;
        }
        self.budget.leaves(node);
        cluster.hosts[node.index()].dies_behind_fold = true;
        later(self.a_while(500, 6_000), Heal::Start(node))
    }
}
