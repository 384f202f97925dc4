//! How a node is set up: flags, variables, directories, the demo and the files to deploy.

#[path = "../support/mod.rs"]
mod support;

mod demo;
mod deploy;
mod directories;
mod settings;
