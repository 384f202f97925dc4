//! The HTTP interface of real nodes: what each address answers, to whom, and how bad requests are
//! refused.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod bad_input;
mod batch;
mod contract;
mod front;
mod limit_check;
mod listing;
mod malformed;
mod metrics;
mod openapi;
mod sessions;
