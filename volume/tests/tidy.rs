//! The order of the house, for the whole workspace: who may use whom, what the core may not
//! touch, no forgotten file, no long file, no long function.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Lines of a file at most.
const FILE_LINES: usize = 600;
/// Lines of a function at most.
const FUNCTION_LINES: usize = 70;

/// What knows nothing but itself.
const VOCABULARY: [&str; 16] = [
    "config",
    "error",
    "event",
    "geometry",
    "groups_of_range",
    "ids",
    "kept",
    "limits",
    "lsn",
    "page",
    "page_run",
    "placement",
    "planted",
    "quorum",
    "status",
    "time",
];

/// The parts of the volume above the vocabulary, and which others each of them may use. Two
/// modules of `segment` are named for themselves, since they are what `io` may know of it.
const LAYERS: [(&str, &[&str]); 8] = [
    ("format", &[]),
    ("message", &["format"]),
    ("effect", &["message"]),
    ("segment", &["format", "message", "effect", "materialize"]),
    ("writer", &["format", "message"]),
    ("embedded", &["message", "effect", "segment", "writer"]),
    ("io", &["format", "effect", "materialize"]),
    (
        "volume",
        &[
            "format", "message", "effect", "segment", "writer", "embedded", "io",
        ],
    ),
];

/// What the core gets as arguments and asks for by effects (law 8).
const OUTSIDE: [&str; 14] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "std::time::Instant",
    "SystemTime",
    "Instant::now",
    "Mutex",
    "getrandom::",
    "rand::",
    "nix::",
    "libc::",
    "io_uring::",
];

fn root() -> PathBuf {
    let volume = Path::new(env!("CARGO_MANIFEST_DIR"));
    volume.parent().expect("the workspace").to_path_buf()
}

/// All Rust files below a folder, sorted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.expect("a folder that can be read").path()) {
            if path.is_dir() {
                // What a build in a workspace of its own made is not ours.
                folders.extend(Some(path).filter(|path| !path.ends_with("target")));
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn all_files() -> Vec<PathBuf> {
    let folders = [
        "src",
        "tests",
        "volume/src",
        "volume/tests",
        "mount/src",
        "mount/tests",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)));
    files.collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The lines that are no comments, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn assert_none(offenders: &[String], rule: &str) {
    let mut text = String::new();
    offenders
        .iter()
        .for_each(|offender| writeln!(text, "  {offender}").expect("memory"));
    assert!(offenders.is_empty(), "{rule}:\n{text}");
}

/// The part of the volume that a path of modules belongs to.
fn part_of<'a>(mut modules: impl Iterator<Item = &'a str>) -> &'a str {
    let first = modules.next().unwrap_or("lib");
    match (first, modules.next()) {
        ("segment", Some("effect")) => "effect",
        ("segment", Some("materialize")) => "materialize",
        (first, _) if VOCABULARY.contains(&first) => "vocabulary",
        (first, _) => first,
    }
}

/// The parts that a line of code names, whatever the form of its `use`.
fn parts_named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        part_of(rest[..end.unwrap_or(rest.len())].split("::"))
    })
}

fn may_use(user: &str, used: &str) -> bool {
    let user = if user == "materialize" {
        "segment"
    } else {
        user
    };
    let layer = LAYERS.iter().find(|(name, _)| *name == user);
    user == used || used == "vocabulary" || layer.is_some_and(|(_, others)| others.contains(&used))
}

#[test]
fn the_layers_of_the_volume_are_kept() {
    let source = root().join("volume/src");
    let mut offenders = Vec::new();
    for file in rust_files(&source) {
        let place = file.strip_prefix(&source).unwrap().with_extension("");
        let user = part_of(place.iter().filter_map(|part| part.to_str()));
        let text = read(&file);
        for (number, line) in code_lines(&text) {
            for used in parts_named(line).filter(|used| !may_use(user, used)) {
                offenders.push(format!("{}:{number}: {user} uses {used}", name(&file)));
            }
            if line.trim_start().starts_with("use crate::{") {
                offenders.push(format!("{}:{number}: one module a line", name(&file)));
            }
        }
    }
    assert_none(&offenders, "a layer is crossed");
}

#[test]
fn the_core_touches_nothing_outside() {
    let source = root().join("volume/src");
    // A planted bug is chosen by the environment; no release has any.
    let vocabulary = VOCABULARY.iter().filter(|module| **module != "planted");
    let vocabulary = vocabulary.map(|module| source.join(module).with_extension("rs"));
    let mut files: Vec<PathBuf> = vocabulary.collect();
    files.extend([source.join("message.rs"), source.join("embedded.rs")]);
    for part in ["format", "segment", "writer"] {
        files.extend(rust_files(&source.join(part)));
    }
    let mut offenders = Vec::new();
    for file in files {
        let text = read(&file);
        for (number, line) in code_lines(&text) {
            let words = line.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
            for word in words {
                if OUTSIDE.iter().any(|outside| word.starts_with(outside)) {
                    offenders.push(format!("{}:{number}: {word}", name(&file)));
                }
            }
        }
    }
    assert_none(&offenders, "the core uses what it should be given (law 8)");
}

/// The folders of the crates that only test.
fn test_crates() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests")).expect("the tests");
    let folders = entries.map(|entry| entry.expect("a folder that can be read").path());
    let is_crate = |folder: &PathBuf| folder.join("Cargo.toml").exists();
    folders.filter(is_crate).collect()
}

/// Where `cargo` begins to read: libraries, the programs, the test binaries.
fn entry_points() -> Vec<PathBuf> {
    let root = root();
    let folders = [root.clone(), root.join("volume"), root.join("mount")];
    let mut entries = Vec::new();
    for folder in folders.into_iter().chain(test_crates()) {
        let sources = ["src/main.rs", "src/lib.rs"].map(|path| folder.join(path));
        entries.extend(sources.into_iter().filter(|path| path.exists()));
        entries.extend(rust_files(&folder.join("src/bin")));
        let tests = folder.join("tests");
        let is_entry = |file: &PathBuf| {
            let parent = file.parent().expect("a folder");
            let in_folder = parent.parent() == Some(&tests) && file.ends_with("main.rs");
            parent == tests || in_folder
        };
        entries.extend(rust_files(&tests).into_iter().filter(is_entry));
    }
    entries
}

/// The files that the `mod` lines of a file name.
fn modules_of(file: &Path) -> Vec<PathBuf> {
    let folder = file.parent().expect("a folder");
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("a name");
    let is_entry = entry_points().iter().any(|entry| entry == file);
    let below = if is_entry || stem == "mod" {
        folder.to_path_buf()
    } else {
        folder.join(stem)
    };
    let text = read(file);
    let mut modules = Vec::new();
    let mut path = None;
    for (_, line) in code_lines(&text) {
        if let Some(rest) = line.trim().strip_prefix("#[path = \"") {
            path = rest.strip_suffix("\"]").map(|named| folder.join(named));
        } else if let Some((_, module)) = line.split_once("mod ")
            && let Some(module) = module.strip_suffix(';')
        {
            let file = below.join(module).with_extension("rs");
            let inner = below.join(module).join("mod.rs");
            let found = if file.exists() { file } else { inner };
            modules.push(path.take().unwrap_or(found));
        }
    }
    modules
}

#[test]
fn every_file_is_part_of_the_program() {
    let mut reached = BTreeSet::new();
    let mut waiting = entry_points();
    while let Some(file) = waiting.pop() {
        if reached.insert(file.clone()) {
            waiting.extend(modules_of(&file));
        }
    }
    let forgotten = all_files()
        .into_iter()
        .filter(|file| !reached.contains(file));
    let forgotten: Vec<String> = forgotten.map(|file| name(&file)).collect();
    assert_none(&forgotten, "no `mod` names these files");
}

#[test]
fn no_file_is_long() {
    let lines = |file: &PathBuf| read(file).lines().count();
    let long = all_files().into_iter().map(|file| (lines(&file), file));
    let long = long.filter(|(lines, _)| *lines > FILE_LINES);
    let long: Vec<String> = long
        .map(|(lines, file)| format!("{}: {lines} lines", name(&file)))
        .collect();
    assert_none(&long, "a file has one duty and at most 600 lines");
}

/// The functions of a formatted file: first line, name, lines.
fn functions(text: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((before, signature)) = code.split_once("fn ") else {
            continue;
        };
        let is_function = before.split_whitespace().all(|word| {
            word.starts_with("pub") || ["const", "unsafe", "extern", "\"C\""].contains(&word)
        });
        if !is_function || code.ends_with(';') || code.ends_with('}') {
            continue;
        }
        let end = lines[index..].iter().position(|line| {
            line.strip_prefix(indent)
                .is_some_and(|rest| rest == "}" || (rest.starts_with(')') && rest.ends_with(';')))
        });
        let name = signature.split(['(', '<']).next().unwrap_or_default();
        functions.push((index + 1, name, end.map_or(0, |end| end + 1)));
    }
    functions
}

#[test]
fn no_function_is_long() {
    let mut offenders = Vec::new();
    for file in all_files() {
        for (line, function, lines) in functions(&read(&file)) {
            if lines > FUNCTION_LINES {
                offenders.push(format!("{}:{line}: {function}: {lines} lines", name(&file)));
            }
        }
    }
    assert_none(&offenders, "a function has at most 70 lines");
}

#[test]
fn functions_are_measured() {
    let text = "impl X {\n    pub(super) fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n\n    \
                fn c() {}\n}\n";
    assert_eq!(functions(text), [(2, "a", 5)]);
}

#[test]
fn the_map_names_what_is_there() {
    let map = read(&root().join("docs/architecture.md"));
    let files: Vec<String> = all_files().iter().map(|file| name(file)).collect();
    let named = map.split('`').skip(1).step_by(2);
    let is_there = |named: &str| {
        let place = format!("/{named}");
        if named.ends_with('/') {
            files.iter().any(|file| format!("/{file}").contains(&place))
        } else {
            files
                .iter()
                .any(|file| format!("/{file}").ends_with(&place))
        }
    };
    let paths = named.filter(|named| named.ends_with(".rs") || named.ends_with('/'));
    let lost: Vec<String> = paths
        .filter(|path| !is_there(path))
        .map(str::to_owned)
        .collect();
    assert_none(&lost, "docs/architecture.md names what is not there");
}

/// The names and versions in a section of a Cargo file.
fn dependencies<'a>(manifest: &'a str, section: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let Some((_, rest)) = manifest.split_once(&format!("\n[{section}]\n")) else {
        return Vec::new();
    };
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let rows = lines.filter(|line| !line.starts_with('#'));
    let rows = rows.filter_map(|line| {
        let (name, value) = line.split_once([' ', '.'])?;
        let version = value
            .split_once("\"=")
            .and_then(|(_, rest)| rest.split('"').next());
        Some((name, version))
    });
    rows.collect()
}

#[test]
fn every_dependency_is_used_and_has_its_reason() {
    let map = read(&root().join("docs/architecture.md"));
    let workspace = read(&root().join("Cargo.toml"));
    let folders = [root(), root().join("volume"), root().join("mount")];
    let crates = folders.into_iter().chain(test_crates());
    let is_explained =
        |dependency: &str, version: &str| map.contains(&format!("| {dependency} | {version} |"));
    let unexplained =
        |dependency: &str| format!("docs/architecture.md: {dependency} in its version is missing");
    let mut offenders = Vec::new();
    let mut wanted = BTreeSet::new();
    for folder in crates {
        let manifest = read(&folder.join("Cargo.toml"));
        let mut files = rust_files(&folder.join("src"));
        files.extend(rust_files(&folder.join("tests")));
        if folder.ends_with("fuzz") {
            // It is built with modules of the command.
            files.extend(rust_files(&root().join("src")));
        }
        if folder.ends_with("threads") {
            // With modules of the volume.
            files.extend(rust_files(&root().join("volume/src")));
        }
        let code: String = files.iter().map(|file| read(file)).collect();
        for section in ["dependencies", "dev-dependencies"] {
            for (dependency, version) in dependencies(&manifest, section) {
                wanted.insert(dependency.to_owned());
                if version.is_some_and(|version| !is_explained(dependency, version)) {
                    offenders.push(unexplained(dependency));
                }
                if !code.contains(&format!("{}::", dependency.replace('-', "_"))) {
                    offenders.push(format!("{}: {dependency} is not used", name(&folder)));
                }
            }
        }
    }
    for (dependency, version) in dependencies(&workspace, "workspace.dependencies") {
        if !wanted.contains(dependency) {
            offenders.push(format!("Cargo.toml: nobody wants {dependency}"));
        }
        if version.is_some_and(|version| !is_explained(dependency, version)) {
            offenders.push(unexplained(dependency));
        }
    }
    assert_none(&offenders, "a dependency without use or reason");
}
