//! The leaves in memory, within a budget: dirty ones stay until they are written, clean ones go
//! when the clock finds them unused.

use crate::segment::leaf::Leaf;
use crate::segment::leaf_directory::{LeafId, PageState};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

/// Clean leaves that stay whatever the budget says, so that what was loaded for a read is still
/// there when the read comes back for it.
const CLEAN_LEAVES_KEPT: usize = 16;

/// Memory of a leaf besides its heap: its slot and its place among the clean or dirty ones, in a
/// table and trees that are two thirds full.
const SLOT_BYTES: usize = (size_of::<(LeafId, Slot)>() + size_of::<LeafId>()) * 3 / 2;

#[derive(Debug)]
struct Slot {
    leaf: Leaf,
    state: PageState,
    referenced: bool,
}

impl Slot {
    fn bytes(&self) -> usize {
        SLOT_BYTES + self.leaf.heap_bytes()
    }

    fn is_dirty(&self) -> bool {
        self.state != PageState::Clean
    }
}

/// Leaves in memory.
#[derive(Debug, Default)]
pub struct LeafCache {
    /// Found for each record that comes in; in order only through the next two.
    slots: HashMap<LeafId, Slot>,
    clean: BTreeSet<LeafId>,
    dirty: BTreeSet<LeafId>,
    clean_bytes: usize,
    dirty_bytes: usize,
    /// The leaf that the clock looked at last.
    hand: Option<LeafId>,
}

impl LeafCache {
    /// Memory of the leaves.
    pub fn memory_bytes(&self) -> usize {
        self.clean_bytes + self.dirty_bytes
    }

    /// Memory of the dirty ones.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// How many are dirty.
    pub fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// A leaf, if it is in memory.
    pub fn get(&self, id: LeafId) -> Option<&Leaf> {
        self.slots.get(&id).map(|slot| &slot.leaf)
    }

    /// A leaf, if it is in memory; the clock will spare it once.
    pub fn touch(&mut self, id: LeafId) -> Option<&Leaf> {
        let slot = self.slots.get_mut(&id)?;
        slot.referenced = true;
        Some(&slot.leaf)
    }

    /// The first leaf in memory from `from` up to `end` (exclusive).
    pub fn next(&self, from: LeafId, end: LeafId) -> Option<LeafId> {
        if from >= end {
            return None;
        }
        let first = |ids: &BTreeSet<LeafId>| ids.range(from..end).next().copied();
        first(&self.clean)
            .into_iter()
            .chain(first(&self.dirty))
            .min()
    }

    /// The leaves that differ from what is on disk, ascending.
    pub fn dirty(&self) -> impl Iterator<Item = (LeafId, &Leaf)> + '_ {
        self.dirty
            .iter()
            .filter_map(|id| Some((*id, self.get(*id)?)))
    }

    /// Takes in a leaf as it is on disk.
    pub fn add_clean(&mut self, id: LeafId, leaf: Leaf) {
        self.add(id, leaf, PageState::Clean);
    }

    /// Changes a leaf, which is put in as `fresh` if it is not in memory. It is dirty afterwards
    /// if it is new or if `apply` says (first) that it changed.
    pub fn change<R>(
        &mut self,
        id: LeafId,
        fresh: impl FnOnce() -> Leaf,
        apply: impl FnOnce(&mut Leaf) -> (bool, R),
    ) -> R {
        if !self.slots.contains_key(&id) {
            self.add(id, fresh(), PageState::Dirty);
        }
        let changed = |slot: &mut Slot| {
            let (changed, result) = apply(&mut slot.leaf);
            if changed {
                slot.state = PageState::Dirty;
            }
            slot.referenced = true;
            result
        };
        self.update(id, changed).expect("the leaf was just put in")
    }

    /// Changes the leaf's form and state, if it is in memory.
    pub fn set_state(&mut self, id: LeafId, apply: impl FnOnce(&mut Leaf, PageState) -> PageState) {
        self.update(id, |slot| slot.state = apply(&mut slot.leaf, slot.state));
    }

    /// Takes a leaf out.
    pub fn remove(&mut self, id: LeafId) -> Option<Leaf> {
        let slot = self.slots.remove(&id)?;
        self.count_out(id, slot.bytes(), slot.is_dirty());
        Some(slot.leaf)
    }

    fn add(&mut self, id: LeafId, leaf: Leaf, state: PageState) {
        let slot = Slot {
            leaf,
            state,
            referenced: true,
        };
        self.count_in(id, slot.bytes(), slot.is_dirty());
        self.slots.insert(id, slot);
    }

    /// The one way to change a slot: keeps the sums and sets right.
    fn update<R>(&mut self, id: LeafId, apply: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let slot = self.slots.get_mut(&id)?;
        let (bytes_before, was_dirty) = (slot.bytes(), slot.is_dirty());
        let result = apply(slot);
        let (bytes, is_dirty) = (slot.bytes(), slot.is_dirty());
        if was_dirty == is_dirty {
            let sum = if is_dirty {
                &mut self.dirty_bytes
            } else {
                &mut self.clean_bytes
            };
            *sum = *sum - bytes_before + bytes;
        } else {
            self.count_out(id, bytes_before, was_dirty);
            self.count_in(id, bytes, is_dirty);
        }
        Some(result)
    }

    fn count_in(&mut self, id: LeafId, bytes: usize, dirty: bool) {
        if dirty {
            self.dirty.insert(id);
            self.dirty_bytes += bytes;
        } else {
            self.clean.insert(id);
            self.clean_bytes += bytes;
        }
    }

    fn count_out(&mut self, id: LeafId, bytes: usize, dirty: bool) {
        if dirty {
            self.dirty.remove(&id);
            self.dirty_bytes -= bytes;
        } else {
            self.clean.remove(&id);
            self.clean_bytes -= bytes;
        }
    }

    /// Drops clean leaves that were not used since the clock's last round until the leaves fit
    /// into `budget_bytes`, as far as there are any.
    pub fn evict(&mut self, budget_bytes: usize) {
        while self.memory_bytes() > budget_bytes && self.clean.len() > CLEAN_LEAVES_KEPT {
            let from = self.hand.map_or(Unbounded, Excluded);
            let next = self.clean.range((from, Unbounded)).next();
            self.hand = next.copied();
            let Some(id) = self.hand else {
                continue;
            };
            let slot = self.slots.get_mut(&id);
            if slot.is_some_and(|slot| !std::mem::take(&mut slot.referenced)) {
                self.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupId;

    fn id(leaf: u32) -> LeafId {
        let group = GroupId(0);
        LeafId { group, leaf }
    }

    #[test]
    fn clean_leaves_go_dirty_and_used_ones_stay() {
        let mut cache = LeafCache::default();
        for leaf in 0..100 {
            cache.add_clean(id(leaf), Leaf::default());
        }
        for leaf in 40..60 {
            cache.change(id(leaf), Leaf::default, |_| (true, ()));
        }
        let budget = cache.memory_bytes() / 2;
        cache.evict(cache.memory_bytes() - SLOT_BYTES);
        cache.touch(id(99));
        cache.evict(budget);
        assert!(cache.memory_bytes() <= budget);
        assert!((40..60).all(|leaf| cache.get(id(leaf)).is_some()));
        assert!(cache.get(id(99)).is_some());
        cache.evict(0);
        assert_eq!(cache.clean.len(), CLEAN_LEAVES_KEPT);
        assert_eq!(cache.dirty_bytes(), 20 * SLOT_BYTES);
    }
}
