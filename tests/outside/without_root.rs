//! A user without any right but to mount what is their own: through fusermount3.

use crate::support::{root, shell};
use std::os::unix::fs::chown;
use std::path::Path;

/// Nobody in particular.
const USER: u32 = 65_534;

/// In a mount namespace of its own, which takes every mount with it when it ends. `/dev/fuse` is
/// open to all in it, as it is on most systems.
const IN_A_NAMESPACE: &str = r#"
unshare --mount bash -euo pipefail -c '
    mknod -m 666 "$home/fuse" c 10 229
    mount --bind "$home/fuse" /dev/fuse
    exec setpriv --reuid=$user --regid=$user --clear-groups bash -euo pipefail -c "$as_user"
'
"#;

const AS_USER: &str = r#"
cd "$home"
mkdir point
./redoubt create volume --size 64M --quiet
./redoubt mount volume point
trap "./redoubt umount point" EXIT
dd if=/dev/urandom of=data bs=1M count=8 status=none
dd if=data of=point/disk bs=1M conv=notrunc,fsync status=none
for process in $(pgrep -x redoubt -u "$(id -u)"); do
    [ "$(readlink "/proc/$process/exe")" != "$PWD/redoubt" ] || kill -9 "$process"
done
./redoubt mount volume point
cmp -n $((8 << 20)) data point/disk
./redoubt status volume --check
stat -c "%U %u %a" point/disk
"#;

#[test]
fn a_user_without_root_mounts_kills_and_mounts_again() {
    let Some(_turn) = root(&["unshare", "setpriv", "pgrep"]) else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("redoubt");
    std::fs::copy(env!("CARGO_BIN_EXE_redoubt"), program).unwrap();
    chown(home.path(), Some(USER), Some(USER)).unwrap();
    let user = USER.to_string();
    let variables: [(&str, &Path); 3] = [
        ("home", home.path()),
        ("user", Path::new(&user)),
        ("as_user", Path::new(AS_USER)),
    ];
    let said = shell(IN_A_NAMESPACE, &variables);
    assert!(said.contains(&format!(" {USER} 600")), "{said}");
}
