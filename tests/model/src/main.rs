//! `redoubt-model`: searches what the protocol can do, and prints states, depth and time.

use redoubt_model::config::{BrokenRule, Config};
use redoubt_model::explain::explain;
use redoubt_model::search::search;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: redoubt-model [--config NAME] [--threads N] [--states N] [--break RULE]

Searches every order of events that a configuration allows, and prints the shortest way to a
violation, if there is one. Without --config all configurations are searched, one after another.

  --config NAME   one configuration
  --threads N     threads (2)
  --states N      states after which a search ends unfinished (30000000; about 80 bytes each)
  --break RULE    break a rule on purpose, to see it caught";

struct Arguments {
    config: Option<String>,
    threads: usize,
    states: usize,
    broken: Option<BrokenRule>,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)) {
        Ok(arguments) => run(&arguments),
        Err(reason) => {
            eprintln!("redoubt-model: {reason}\n\n{USAGE}\n\n{}", names());
            ExitCode::from(2)
        }
    }
}

fn names() -> String {
    let configs: Vec<&str> = Config::ALL.iter().map(|config| config.name).collect();
    let rules: Vec<String> = BrokenRule::ALL
        .iter()
        .map(|rule| format!("{rule:?}"))
        .collect();
    format!(
        "configurations: {}\nrules: {}",
        configs.join(", "),
        rules.join(", ")
    )
}

fn arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        config: None,
        threads: 2,
        states: 30_000_000,
        broken: None,
    };
    while let Some(name) = given.next() {
        let value = given
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--config" => arguments.config = Some(value),
            "--threads" => arguments.threads = number(&name, &value)?,
            "--states" => arguments.states = number(&name, &value)?,
            "--break" => arguments.broken = Some(rule(&value)?),
            _ => return Err(format!("{name} is no option")),
        }
    }
    Ok(arguments)
}

fn number(name: &str, value: &str) -> Result<usize, String> {
    let parsed = value.parse().ok().filter(|number| *number > 0);
    parsed.ok_or_else(|| format!("{name} needs a number above zero, and {value} is none"))
}

fn rule(value: &str) -> Result<BrokenRule, String> {
    let found = BrokenRule::ALL
        .into_iter()
        .find(|rule| format!("{rule:?}") == value);
    found.ok_or_else(|| format!("{value} is no rule"))
}

fn run(arguments: &Arguments) -> ExitCode {
    if let (Some(rule), None) = (arguments.broken, &arguments.config) {
        return ExitCode::from(u8::from(search_one(&rule.exposing(), arguments)));
    }
    let wanted = |config: &&Config| {
        arguments
            .config
            .as_ref()
            .is_none_or(|name| name == config.name)
    };
    let configs: Vec<Config> = Config::ALL.iter().filter(wanted).copied().collect();
    if configs.is_empty() {
        eprintln!(
            "redoubt-model: there is no such configuration\n\n{}",
            names()
        );
        return ExitCode::from(2);
    }
    let mut violated = false;
    for mut config in configs {
        config.broken = arguments.broken;
        violated |= search_one(&config, arguments);
    }
    ExitCode::from(u8::from(violated))
}

/// Searches one configuration; whether something is violated.
fn search_one(config: &Config, arguments: &Arguments) -> bool {
    let begun = Instant::now();
    let outcome = search(config, arguments.threads, arguments.states);
    let word = match (&outcome.violation, outcome.is_exhaustive) {
        (Some(_), _) => "VIOLATED",
        (None, true) => "holds, all states",
        (None, false) => "holds so far",
    };
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{:<12} {word}: {} states, depth {}, {seconds:.1} s",
        config.name, outcome.states, outcome.depth
    );
    if let Some((way, what)) = &outcome.violation {
        println!("{}", explain(config, way, what));
    }
    outcome.violation.is_some()
}
