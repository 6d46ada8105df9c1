//! A violation told in words, step by step.

use crate::action::Action;
use crate::config::Config;
use crate::search::sort_nodes;
use crate::state::{NODES, Nodes, Phase, State, has};

/// Letters of the nodes, by their present places.
struct Names([char; NODES]);

impl Names {
    fn of(&self, node: u8) -> char {
        self.0[usize::from(node)]
    }

    fn of_set(&self, set: Nodes) -> String {
        let mut letters: Vec<char> = (0..NODES)
            .filter(|n| has(set, *n))
            .map(|n| self.0[n])
            .collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    }

    /// Letters for the places that a sentence names.
    fn in_sentence(&self, sentence: &str) -> String {
        let replace = |sentence: String, node: usize| {
            sentence.replace(&format!("node {node}"), &self.0[node].to_string())
        };
        (0..NODES).fold(sentence.to_owned(), replace)
    }
}

/// The steps in words, numbered, and what they violate.
pub fn explain(config: &Config, way: &[Action], violation: &str) -> String {
    let mut state = State::start(config);
    state.forget_what_nobody_reads(config);
    let mut names = Names(std::array::from_fn(|node| (b'A' + node as u8) as char));
    let mut lines = Vec::new();
    for (number, action) in way.iter().enumerate() {
        let words = words(&state, config, *action, &names);
        lines.push(format!("{:4}. {words}", number + 1));
        (state, _) = state.after(config, *action);
        state.forget_what_nobody_reads(config);
        let order = sort_nodes(config, &mut state);
        names = Names(order.map(|node| names.0[node]));
    }
    lines.push(format!("   => {}", names.in_sentence(violation)));
    lines.join("\n")
}

fn words(state: &State, config: &Config, action: Action, names: &Names) -> String {
    let lsn = |record: u8| state.records[usize::from(record)].lsn;
    let name = |node| names.of(node);
    match action {
        Action::Takeover(asked) => takeover(state, config, asked, names),
        Action::HoldList(term, node) => format!("{} holds writer {}'s list", name(node), term + 1),
        Action::CopyTail(term, node, group, source) => format!(
            "writer {} copies the tail of group {group} from {} to {}",
            term + 1,
            name(source),
            name(node)
        ),
        Action::BeginFillForQuorum(term, node, group) | Action::BeginFill(term, node, group) => {
            format!(
                "writer {} begins to fill group {group} of {}",
                term + 1,
                name(node)
            )
        }
        Action::Serve(term) => format!("writer {} serves", term + 1),
        Action::ServeOnThree(term, set) => {
            format!(
                "writer {} serves reads on {}, the others being away",
                term + 1,
                names.of_set(set)
            )
        }
        Action::Append(term, group, ends) => {
            let next = state.terms[usize::from(term)].next;
            let ending = if ends { ", a consistency point" } else { "" };
            format!(
                "writer {} writes LSN {next} to group {group}{ending}",
                term + 1
            )
        }
        Action::Deliver(term, node, record) => {
            format!(
                "{} has writer {}'s LSN {} on disk",
                name(node),
                term + 1,
                lsn(record)
            )
        }
        Action::Gossip(node, group, source) => format!(
            "{} gives {} the next record of group {group}",
            name(source),
            name(node)
        ),
        Action::Announce(term, node) => {
            format!(
                "writer {} announces VDL {} to {}",
                term + 1,
                state.terms[usize::from(term)].vdl,
                name(node)
            )
        }
        Action::Fill(term, node, group, source) => format!(
            "writer {} has filled group {group} of {} from {}",
            term + 1,
            name(node),
            name(source)
        ),
        _ => words_of_fault(state, action, names),
    }
}

/// What nodes suffer, and how new directories come in.
fn words_of_fault(state: &State, action: Action, names: &Names) -> String {
    let lsn = |record: u8| state.records[usize::from(record)].lsn;
    let name = |node| names.of(node);
    match action {
        Action::Crash(node) => format!("{} crashes and opens again", name(node)),
        Action::PowerCut => "all nodes crash and open again".to_owned(),
        Action::BadFrame(node, record) => {
            format!(
                "{}'s frame with LSN {} goes bad; it opens again",
                name(node),
                lsn(record)
            )
        }
        Action::Checkpoint(node) => format!("{} writes a checkpoint", name(node)),
        Action::Empty(node) => format!("{}'s directory is made anew, empty", name(node)),
        Action::Admit(term, node) => {
            format!("writer {} asks to admit the new {}", term + 1, name(node))
        }
        Action::Configure(term, node) => {
            format!("{} holds writer {}'s configuration", name(node), term + 1)
        }
        Action::Admitted(term) => format!("writer {}'s configuration is in force", term + 1),
        Action::CountBoth(term) => {
            format!("for writer {} F counts for what G holds, too", term + 1)
        }
        Action::CountOne(term) => format!("for writer {} F counts for itself again", term + 1),
        Action::NameSuccessor(term) => {
            format!("writer {} begins to name G in the place of F", term + 1)
        }
        _ => String::new(),
    }
}

fn takeover(state: &State, config: &Config, asked: Nodes, names: &Names) -> String {
    let (next, _) = state.after(config, Action::Takeover(asked));
    let begun = |term: &usize| {
        state.terms[*term].phase == Phase::Unused && next.terms[*term].phase != Phase::Unused
    };
    let Some(term) = (0..next.terms.len()).find(begun) else {
        return "a takeover is refused".to_owned();
    };
    let decided = &next.terms[term];
    format!(
        "writer {} takes over with {}: VDL {}, LSN {} to {} annulled",
        term + 1,
        names.of_set(asked),
        decided.vdl,
        decided.vdl + 1,
        decided.top
    )
}
