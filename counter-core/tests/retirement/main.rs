//! Incarnations that end: random histories against an oracle of single adds, and successors.
//! `retirement_model` visits every interleaving of a small model.

mod fold;
mod random;
mod successors;
mod units;
mod world;
