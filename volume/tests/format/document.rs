//! `docs/format.md` says what the code does.

use super::examples::{self, GROUP, NUMBER};
use redoubt_volume::format::index_page::{self, encode_leaf};
use redoubt_volume::format::log_frame::{FRAME_MAGIC, FRAME_VERSION};
use redoubt_volume::format::redo_record::{RecordKind, flags};
use redoubt_volume::format::superblock::{self, SUPERBLOCK_MAGIC};
use redoubt_volume::{geometry, limits, page};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn source(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document() -> String {
    source("../docs/format.md")
}

/// All files of the format, one after the other.
fn code() -> String {
    let files = [
        "superblock",
        "log_frame",
        "redo_record",
        "index_page",
        "checkpoint_root",
    ];
    let text = files.map(|file| source(&format!("src/format/{file}.rs")));
    text.concat()
}

/// Comment lines without their marks.
fn comments(code: &str, mark: &str) -> String {
    let lines = code.lines().filter_map(|line| line.strip_prefix(mark));
    lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A layout: its table and the size of its struct.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    text: String,
    bytes: usize,
}

/// The layouts of the code, by name, each with the offsets of its fields.
fn tables_of_code(code: &str) -> BTreeMap<String, (Table, Vec<usize>)> {
    let mut tables = BTreeMap::new();
    for piece in code.split("/// ```text\n").skip(1) {
        let (table, rest) = piece.split_once("/// ```\n").expect("the table ends");
        let (_, rest) = rest.split_once("struct ").expect("a struct follows");
        let (name, rest) = rest.split_once(" {\n").expect("the struct has fields");
        let (fields, _) = rest.split_once("\n}").expect("the struct ends");
        let (offsets, bytes) = offsets(fields);
        let text = comments(table, "///");
        tables.insert(name.to_owned(), (Table { text, bytes }, offsets));
    }
    tables
}

/// Where the fields of a packed struct begin, and where it ends.
fn offsets(fields: &str) -> (Vec<usize>, usize) {
    let mut end = 0;
    let mut offsets = Vec::new();
    for field in fields.lines().map(str::trim) {
        let (_, kind) = field
            .trim_end_matches(',')
            .split_once(": ")
            .expect("a field");
        offsets.push(end);
        end += bytes_of(kind);
    }
    (offsets, end)
}

fn bytes_of(kind: &str) -> usize {
    match kind {
        "u8" => 1,
        "U16" => 2,
        "U32" => 4,
        "U64" => 8,
        "[U32; PAGES_PER_BLOCK]" => 4 * geometry::PAGES_PER_BLOCK,
        bytes => bytes
            .strip_prefix("[u8; ")
            .and_then(|length| length.strip_suffix(']')?.parse().ok())
            .unwrap_or_else(|| panic!("the type {bytes} is not known to this test")),
    }
}

/// The layouts of the document, by name.
fn tables_of_document(document: &str) -> BTreeMap<String, Table> {
    let mut tables = BTreeMap::new();
    for piece in document.split("\n#### `").skip(1) {
        let (name, rest) = piece.split_once("`, ").expect("a name");
        let (bytes, rest) = rest.split_once(" bytes\n\n```text\n").expect("a size");
        let (text, _) = rest.split_once("\n```").expect("the table ends");
        let table = Table {
            text: text.to_owned(),
            bytes: bytes.parse().expect("a number"),
        };
        tables.insert(name.to_owned(), table);
    }
    tables
}

#[test]
fn every_layout_is_in_the_document() {
    let code = code();
    let of_code = tables_of_code(&code).into_iter();
    let of_code: BTreeMap<_, _> = of_code.map(|(name, (table, _))| (name, table)).collect();
    assert_eq!(tables_of_document(&document()), of_code);
    let layouts = code.matches("Unaligned)]\n#[repr(C)]").count();
    assert_eq!(layouts, of_code.len(), "a layout has no table");
}

#[test]
fn the_tables_say_where_the_fields_are() {
    for (name, (table, offsets)) in tables_of_code(&code()) {
        let mut end = 0;
        for row in table.text.lines().skip(1) {
            let mut columns = row.split_whitespace();
            let mut number = || columns.next().unwrap().parse::<usize>().unwrap();
            assert_eq!(number(), end, "{name}: {row}");
            assert!(offsets.contains(&end), "{name}: {row}");
            end += number();
        }
        assert_eq!(end, table.bytes, "{name}");
    }
}

#[test]
fn the_rules_are_those_of_the_code() {
    let rules = comments(&source("src/format/mod.rs"), "//!");
    let (_, rules) = rules.split_once("once for all: ").expect("rules");
    let document = words(&document()).to_lowercase();
    assert!(document.contains(&words(rules)), "{rules}");
}

#[test]
fn the_files_are_those_of_the_code() {
    for file in ["src/io/address_book.rs", "src/io/node_directory.rs"] {
        let comments = comments(&source(file), "//!");
        let piece = comments.split("```text\n").nth(1).expect("a block");
        let (block, _) = piece.split_once("```").expect("the block ends");
        assert!(
            document().contains(&format!("```text\n{block}```")),
            "{file}"
        );
    }
}

/// Rows of a table of the document, by its first column, with the second.
fn rows(title: &str) -> BTreeMap<String, u64> {
    let document = document();
    let (_, rest) = document.split_once(title).expect("the table is there");
    let lines = rest
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let name = cells.next().expect("a name").trim_matches('`').to_owned();
        let value = cells.next().expect("a value");
        (name, value.parse().expect("a number"))
    };
    lines.map(row).collect()
}

#[test]
fn the_numbers_are_the_constants() {
    let constants = [
        ("PAGE_BYTES", page::PAGE_BYTES as u64),
        ("BLOCK_BYTES", geometry::BLOCK_BYTES as u64),
        ("UNIT_BYTES", geometry::UNIT_BYTES),
        ("DEFAULT_GROUP_BYTES", geometry::DEFAULT_GROUP_BYTES),
        ("MAX_DISK_BYTES", geometry::MAX_DISK_BYTES),
        ("FRAME_VERSION", FRAME_VERSION.into()),
        ("FRAME_RECORDS", limits::FRAME_RECORDS as u64),
        ("FRAME_PAYLOAD_BYTES", limits::FRAME_PAYLOAD_BYTES as u64),
        ("SUPERBLOCK_VERSION", superblock::SUPERBLOCK_VERSION.into()),
        ("SLOT_BYTES", superblock::SLOT_BYTES as u64),
        ("SLOTS", superblock::SLOTS as u64),
        ("MAX_NODES", superblock::MAX_NODES as u64),
        ("TRUNCATION_RANGES", limits::TRUNCATION_RANGES as u64),
        (
            "MAX_CHECKPOINT_PARTS",
            superblock::MAX_CHECKPOINT_PARTS as u64,
        ),
        ("INDEX_VERSION", index_page::INDEX_VERSION.into()),
        ("LEAF_BLOCKS", index_page::LEAF_BLOCKS.into()),
        ("DIRECTORY_LEAVES", index_page::DIRECTORY_LEAVES as u64),
    ];
    let constants = constants.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(
        rows("| constant | value | meaning |\n"),
        constants.into_iter().collect()
    );
}

#[test]
fn the_record_kinds_are_those_of_the_code() {
    use RecordKind::{
        CheckpointRoot, Complete, Delta, Discard, Filled, Image, Incomplete, IndexDirectory,
        IndexLeaf, Released,
    };
    let kinds = [
        Image,
        Delta,
        Discard,
        Incomplete,
        Complete,
        IndexLeaf,
        IndexDirectory,
        CheckpointRoot,
        Filled,
        Released,
    ];
    let kinds = kinds.map(|kind| (format!("{kind:?}"), kind as u64));
    let title = "| kind | number | payload | what it says |\n";
    assert_eq!(rows(title), kinds.into_iter().collect());
    assert_eq!((flags::CONSISTENCY_POINT, flags::LOCAL), (1, 2));
}

#[test]
fn the_magics_are_those_of_the_tables() {
    let leaf = encode_leaf(&examples::index_identity(), GROUP, NUMBER, &[]);
    let magics: [&[u8]; 3] = [&FRAME_MAGIC, &SUPERBLOCK_MAGIC, &leaf.bytes()[..8]];
    for magic in magics {
        let (text, version) = (str::from_utf8(&magic[..7]).unwrap(), magic[7]);
        assert!(document().contains(&format!("magic \"{text}\" {version}\n")));
    }
}
