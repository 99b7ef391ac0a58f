//! Tells the harness which compiler built it, for the report.

use std::process::Command;

fn main() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let version = version.trim();
    println!("cargo::rustc-env=DELTALITE_RUSTC={}", if version.is_empty() { "unknown" } else { version });
    println!("cargo::rerun-if-changed=build.rs");
}
