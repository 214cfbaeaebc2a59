//! Developer verbs of enforcer.
fn main() {}
