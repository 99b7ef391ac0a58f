//! `deltalite config`, and settings in layers.

use super::*;

/// What `config show` says of a setting: its value, and where it is from.
fn shown(folder: &Path, variables: &[(&str, &str)], arguments: &[&str], setting: &str) -> (Value, String) {
    let mut command = command(folder);
    command.envs(variables.iter().copied()).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found = all.iter().find(|one| one["setting"] == setting).unwrap();
    (found["value"].clone(), found["origin"].as_str().unwrap().to_owned())
}

#[test]
fn settings_come_from_four_layers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let show = ["config", "show", "--json"];
    let threads =
        |variables: &[(&str, &str)], arguments: &[&str]| shown(folder, variables, arguments, "serve.threads");
    assert_eq!(threads(&[], &show), ("0".into(), "default".to_owned()));

    std::fs::create_dir(folder.join("deltalite")).unwrap();
    let file = folder.join("deltalite/config.toml");
    std::fs::write(&file, "[serve]\nthreads = 3\nmemory = \"64MiB\"\n\n[client]\ntoken = \"s3cret\"\n")
        .unwrap();
    assert_eq!(threads(&[], &show), ("3".into(), file.display().to_string()));
    let variable = [("DELTALITE_SERVE_THREADS", "4")];
    assert_eq!(threads(&variable, &show), ("4".into(), "DELTALITE_SERVE_THREADS".to_owned()));
    let flag = [&show[..], &["serve", "--threads", "5"]].concat();
    assert_eq!(threads(&variable, &flag), ("5".into(), "--threads".to_owned()));

    std::fs::write(folder.join("other.toml"), "[serve]\nthreads = 6\n").unwrap();
    let other = [&["--config", "other.toml"][..], &show].concat();
    assert_eq!(threads(&[], &other).0, "6");
    assert_eq!(shown(folder, &[], &other, "serve.memory"), ("1GiB".into(), "default".to_owned()));
    assert_eq!(threads(&[("DELTALITE_CONFIG", "other.toml")], &show).0, "6");

    let text = ok(folder, &["config", "show"]);
    assert!(!text.contains("s3cret") && text.contains("client.token") && text.contains('…'), "{text}");
    assert!(text.contains("serve.memory") && text.contains("64MiB"), "{text}");
    let help = ok(folder, &["serve", "--help"]);
    assert!(help.contains("[default: 1GiB, env: DELTALITE_SERVE_MEMORY]"), "{help}");
    assert!(ok(folder, &["config", "reference"]).contains("## `[session]`"));
    assert!(ok(folder, &["config", "example"]).contains("[client]"));
    let schema: Value = serde_json::from_str(&ok(folder, &["config", "schema"])).unwrap();
    assert!(schema["properties"]["log"]["properties"]["otlp"].is_object(), "{schema}");
}

#[test]
fn what_is_set_wrongly_is_said_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = folder.join("c.toml");
    let serve = ["--config", "c.toml", "serve"];
    let said = fails(folder, 1, &serve);
    assert!(said.contains("c.toml") && said.contains("No such file"), "{said}");
    std::fs::write(&file, "[serve]\nlistn = \"127.0.0.1:0\"\n").unwrap();
    let said = fails(folder, 2, &serve);
    assert!(said.contains("c.toml") && said.contains("did you mean listen?"), "{said}");
    std::fs::write(&file, "[serve]\nlisten = \"somewhere\"\n").unwrap();
    let said = fails(folder, 2, &serve);
    assert!(said.contains("serve.listen") && said.contains("c.toml"), "{said}");
    std::fs::write(&file, "[serve]\nlisten = \"127.0.0.1:0\"\ndata = \".\"\ntls_cert = \"cert.pem\"\n")
        .unwrap();
    let said = fails(folder, 2, &serve);
    assert!(said.contains("serve.tls_key"), "{said}");
    // Commands without settings do not mind.
    ok(folder, &["--config", "c.toml", "explain-error", "DL-0403"]);
    let said = fails(folder, 2, &["config", "show", "inspect", "x"]);
    assert!(said.contains("inspect has no settings"), "{said}");
    let said = fails(folder, 2, &["serve"]);
    assert!(said.contains("--data"), "{said}");
    let said = fails(folder, 2, &["query", "SELECT 1", "--tls-client-key", "x"]);
    assert!(said.contains("client.tls_client_cert"), "{said}");
    let said = fails(folder, 2, &["query", "SELECT 1", "--log-filter", "deltalite=loud"]);
    assert!(said.contains("log.filter"), "{said}");
}

#[test]
fn sessions_have_settings_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir_all(folder.join("tables")).unwrap();
    std::fs::create_dir(folder.join("deltalite")).unwrap();
    std::fs::write(folder.join("deltalite/config.toml"), "[session]\ncatalog = \"tables\"\nthreads = 1\n")
        .unwrap();
    ok(folder, &["query", "CREATE TABLE t AS SELECT 1 AS one"]);
    assert!(folder.join("tables/t").is_dir());
    assert_eq!(ok(folder, &["query", "SELECT one FROM t", "-o", "csv"]), "one\n1\n");
}
