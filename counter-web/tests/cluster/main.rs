//! Clusters of real nodes: restarts, kills, upgrades, removals and changes of the key.

#[path = "../support/mod.rs"]
mod support;

mod agreement;
mod churn;
mod durability;
mod expiry;
mod identity;
mod incarnations;
mod key_rotation;
mod removal;
mod roll;
mod upgrade;
