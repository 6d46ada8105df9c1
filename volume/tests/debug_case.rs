#![allow(unreachable_pub, missing_docs, dead_code, reason = "debug")]
mod cluster;
use cluster::{Cluster, Shape};
#[test]
fn debug() {
    let mut cluster = Cluster::create(Shape::default(), 10);
    cluster.open().unwrap();
    cluster.start_write(5 * 16384, &[1; 16384], false);
    let limit = 10; let mut steps = 0;
    for version in 2..=3u8 { cluster.start_write(u64::from(version)*5%8*16384, &[version;16384], false); }
    let _ = cluster.start_flush();
    while steps < limit { steps += 1; if !cluster.step() { cluster.tick(); } }
    for i in 0..2 {
        cluster.crash();
        println!("open {i}: {:?}", cluster.open());
        println!("{:?}", cluster.core().writer.figures());
        for node in cluster.core().nodes.iter().flatten() { println!("{:?} {:?} {:?}", node.id(), node.figures(), node.superblock().list); println!("   {}", node.describe()); }
        println!("read {}", cluster.read(5*16384, 1)[0]);
    }
}
