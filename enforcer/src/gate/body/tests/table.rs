//! Every field that may only be empty, with every value that is not, in every body that has it: made from the table.

use serde_json::{Value, json};

use super::{
    super::{
        super::verdict::Refusal,
        Judged, exec,
        fields::{Class, MODELS, Model},
        network, update, volume,
    },
    Setting, read_of,
};

/// Judges a body of this model that has the fields, with what else it needs to go through.
fn judge(model: &Model, fields: &Value) -> Result<Judged, Refusal> {
    let setting = Setting::of_user();
    let context = setting.context();
    let with = |mut base: Value| {
        for (name, value) in fields.as_object().expect("fields") {
            base[name] = value.clone();
        }
        base
    };
    let volume_mount = |options: Value| {
        let mount =
            json!({"Type": "volume", "Source": "vol", "Target": "/d", "VolumeOptions": options});
        setting.host(&json!({"Mounts": [mount]}))
    };
    match model.name {
        "ContainerCreateRequest" => setting.create(&with(json!({"Image": "alpine:3"}))),
        "HostConfig" => setting.host(fields),
        "ContainerUpdate" => update::judge(&read_of(fields)?, &context),
        "HealthConfig" => setting.create(&json!({"Image": "alpine:3", "Healthcheck": fields})),
        "RestartPolicy" => setting.host(&json!({"RestartPolicy": fields})),
        "LogConfig" => setting.host(&json!({"LogConfig": fields})),
        "Ulimit" => setting.host(&json!({"Ulimits": [with(json!({"Name": "nofile"}))]})),
        "PortBinding" => {
            setting.host(&json!({"PortBindings": {"80/tcp": [with(json!({"HostPort": "8080"}))]}}))
        }
        "Mount" => {
            let mount = with(json!({"Type": "volume", "Source": "vol", "Target": "/d"}));
            setting.host(&json!({"Mounts": [mount]}))
        }
        "VolumeOptions" => volume_mount(fields.clone()),
        "DriverConfig" => volume_mount(json!({"DriverConfig": fields})),
        "TmpfsOptions" => setting
            .host(&json!({"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": fields}]})),
        "NetworkingConfig" => {
            setting.create(&json!({"Image": "alpine:3", "NetworkingConfig": fields}))
        }
        "EndpointSettings" => setting.create(&json!({
            "Image": "alpine:3",
            "NetworkingConfig": {"EndpointsConfig": {"mine": fields}},
        })),
        "ExecConfig" => exec::judge(&read_of(&with(json!({"Cmd": ["ls"]})))?),
        "ExecStartConfig" => exec::judge_start(&read_of(fields)?),
        "NetworkCreateRequest" => network::judge(&read_of(&with(json!({"Name": "n"})))?, &context),
        "IPAM" => network::judge(&read_of(&json!({"Name": "n", "IPAM": fields}))?, &context),
        "NetworkConnectRequest" => {
            network::judge_connect(&read_of(&with(json!({"Container": "db"})))?, &context)
        }
        "NetworkDisconnectRequest" => {
            network::judge_disconnect(&read_of(&with(json!({"Container": "db"})))?, &context)
        }
        "VolumeCreateRequest" => volume::judge(&read_of(fields)?, &context),
        other => panic!("no body for {other}"),
    }
}

/// Whether a key is anywhere in a value.
fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name == key || has_key(value, key))
        }
        Value::Array(items) => items.iter().any(|item| has_key(item, key)),
        _ => false,
    }
}

#[test]
fn s05_a_field_that_may_only_be_empty_goes_through_empty_and_is_left_out() {
    let (mut refused, mut accepted) = (0, 0);
    for model in MODELS {
        for field in model.fields {
            let empties = match field.class {
                Class::OnlyNull => vec![json!(null)],
                Class::OnlyUnset => vec![json!(null), json!(0), json!(-1)],
                Class::OnlyEmpty => {
                    let nested = json!({"A": null, "B": "", "C": [], "D": {"E": false}});
                    vec![
                        json!(null),
                        json!(false),
                        json!(0),
                        json!(""),
                        json!([]),
                        json!({}),
                        nested,
                    ]
                }
                Class::Allowed | Class::Forced => continue,
            };
            for value in empties {
                let judged = judge(model, &json!({field.name: value}));
                let judged =
                    judged.unwrap_or_else(|refusal| panic!("{} {value}: {refusal}", field.name));
                // A network has options and a subnet of ours, which are not the client's.
                let ours = ["network.options", "ipam.options", "ipam.config"];
                let is_ours = ours.contains(&field.rule);
                assert!(is_ours || !has_key(&judged.body, field.name), "{} {value}", field.rule);
                accepted += 1;
            }
            for value in [
                json!(true),
                json!(1),
                json!(-2),
                json!(0.5),
                json!("x"),
                json!(" "),
                json!("host"),
                json!("null"),
                json!(["x"]),
                json!([""]),
                json!([null]),
                json!([[]]),
                json!([0]),
                json!({"a": "b"}),
                json!({"a": {"b": ["c"]}}),
                json!({"a": [null]}),
            ] {
                let refusal = judge(model, &json!({field.name: value})).expect_err(field.rule);
                assert_eq!(refusal.rule, field.rule, "{value}");
                refused += 1;
            }
            if field.class == Class::OnlyNull {
                for value in [json!([]), json!(""), json!(false), json!({})] {
                    let refusal = judge(model, &json!({field.name: value})).expect_err(field.rule);
                    assert_eq!(refusal.rule, field.rule, "{value}");
                }
            }
        }
    }
    assert!(refused > 500 && accepted > 200, "{refused} {accepted}");
}

#[test]
fn s02_a_field_that_is_in_no_table_is_refused_even_if_empty() {
    for model in MODELS {
        for name in ["Zzz", "", "HostConfig ", "\u{0}", "privileged", "enforcer.changed"] {
            for value in [json!(null), json!(false), json!({}), json!("x")] {
                let refusal = judge(model, &json!({name: value})).expect_err(model.name);
                assert_eq!(refusal.rule, "field.unknown", "{} {name:?}", model.name);
            }
        }
    }
}

#[test]
fn s07_a_field_in_another_case_is_another_field() {
    for model in MODELS {
        for field in model.fields {
            let lower = field.name.to_ascii_lowercase();
            for name in [lower.clone(), field.name.to_ascii_uppercase(), lower.replace('s', "ſ")] {
                if model.field(&name).is_some() {
                    continue;
                }
                let refusal = judge(model, &json!({&name: null})).expect_err(&name);
                // Beside the field itself, it is that one twice.
                assert!(matches!(refusal.rule, "field.unknown" | "json.duplicate"), "{name}");
            }
        }
    }
}

#[test]
fn s02_a_value_of_another_type_is_refused() {
    for model in MODELS {
        for field in model.fields.iter().filter(|field| field.class == Class::Allowed) {
            // No field takes a fraction, and none a list of lists of objects.
            for value in [json!(1.5), json!([[{"a": 1}]])] {
                let refusal = judge(model, &json!({field.name: value}));
                assert!(refusal.is_err(), "{} {value}: {refusal:?}", field.rule);
            }
        }
    }
}
