//! Redoubt from outside: the built command, the real mount, and the programs that people use.
//!
//! Tests need /dev/fuse, some also root (for loop devices) or a program; what is missing is said on
//! standard error and in the file that `REDOUBT_SKIPPED` names, and the test is skipped.

#[cfg(test)]
mod access;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod events;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod file_systems;
#[cfg(test)]
mod full_node;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod lost_block;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod quorum;
#[cfg(test)]
mod replacement;
#[cfg(test)]
mod space;
#[cfg(test)]
mod sqlite;
#[cfg(test)]
mod support;
#[cfg(test)]
mod without_root;
