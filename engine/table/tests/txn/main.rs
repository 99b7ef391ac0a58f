//! Transactions' rules against what they promise.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't set up its data has failed")]

mod oracle;
mod rules;
mod world;
