//! Syncs that fail because a test has ordered it. Only in builds with the feature `recorder`.
//!
//! `REDOUBT_FAIL_SYNCS` names a folder of orders. As long as a file in it has the name of a node,
//! the next sync of one of that node's files fails, which removes the order. A sync that stands for
//! files of several nodes fails when there is an order for each of them, since all of them fail.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Whether a sync that stands for these files is to fail; takes the orders away if it is.
#[cfg_attr(
    not(feature = "recorder"),
    expect(dead_code, reason = "a recorder asks")
)]
pub(super) fn take_orders<'a>(files: impl Iterator<Item = &'a Path>) -> bool {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = || std::env::var_os("REDOUBT_FAIL_SYNCS").map(PathBuf::from);
    let folder = FOLDER.get_or_init(folder).as_deref();
    folder.is_some_and(|folder| take_orders_in(folder, files))
}

fn take_orders_in<'a>(folder: &Path, files: impl Iterator<Item = &'a Path>) -> bool {
    let orders = files.map(|file| Some(folder.join(node_of(file)?)));
    let orders: Option<BTreeSet<PathBuf>> = orders.collect();
    orders.is_some_and(|orders| {
        let are_there = orders.iter().all(|order| order.exists());
        // Whoever removes an order has it, and no other thread.
        are_there
            && orders
                .iter()
                .all(|order| std::fs::remove_file(order).is_ok())
    })
}

/// The name of the node whose superblock or extent this is; `None` for anything else.
fn node_of(file: &Path) -> Option<&OsStr> {
    let folder = file.parent()?;
    let node = match file.extension() {
        Some(extension) if extension == "extent" => folder.parent()?,
        _ if file.ends_with("superblock") => folder,
        _ => return None,
    };
    node.file_name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const OF_A1: &str = "/v/nodes/a1/log/00000003.extent";
    const OF_B2: &str = "/v/nodes/b2/superblock";

    fn is_taken(folder: &Path, files: &[&str]) -> bool {
        take_orders_in(folder, files.iter().map(Path::new))
    }

    #[test]
    fn an_order_fails_one_sync_of_its_node() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        assert!(!is_taken(folder, &[OF_A1]));
        fs::write(folder.join("a1"), "").unwrap();
        assert!(!is_taken(folder, &[OF_B2]));
        assert!(!is_taken(folder, &["/v/nodes/a1/log"]), "names are synced");
        assert!(is_taken(folder, &[OF_A1]));
        assert!(!is_taken(folder, &[OF_A1]));
    }

    #[test]
    fn a_shared_sync_needs_an_order_for_each_of_its_nodes() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        fs::write(folder.join("a1"), "").unwrap();
        assert!(!is_taken(folder, &[OF_A1, OF_B2]));
        fs::write(folder.join("b2"), "").unwrap();
        assert!(is_taken(folder, &[OF_A1, OF_B2, OF_A1]));
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }
}
