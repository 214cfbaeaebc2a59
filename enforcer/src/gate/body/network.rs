//! Own networks: made, joined and left. An own network is a guest network, on a bridge whose name is ours.

use serde_json::{Value, json};

use super::{
    super::{json::Json, names, networks::Prepared, verdict::Refusal},
    Context, Judged, Notes, fields, forbidden, missing, networking,
    object::{At, Object},
    own, who,
};

/// Judges the body of `POST /networks/create`. It goes on with the bridge of the context; without one it is refused.
pub fn judge(json: &Json, context: &Context<'_>) -> Result<Judged, Refusal> {
    let network = Object::body(json, &fields::NETWORK)?;
    let name =
        network.field("Name").ok_or_else(|| network.absent("Name", "a network has a name"))?;
    let called = name.text()?;
    let is_special = matches!(called, "bridge" | "default" | "host" | "none");
    if !names::is_name(called) || is_special {
        return Err(name.refuse("this is no name of a network"));
    }
    let is_taken = own::network(context.facts, called).is_some()
        || own::guest_network(context.facts, called).is_some();
    if is_taken {
        let mut refusal = name.refuse(format_args!("network with name {called} already exists"));
        refusal.status = hyper::StatusCode::CONFLICT;
        return Err(refusal);
    }
    quota(context)?;
    only(&network, "Driver", &["", "bridge", "default"])?;
    only(&network, "Scope", &["", "local"])?;
    if let Some(at) = network.field("IPAM") {
        only(&at.object(&fields::IPAM)?, "Driver", &["", "default"])?;
    }
    // Clients of old engines ask for it; the name is ours, and no other network has it.
    network.flag("CheckDuplicate")?;
    // docker-compose asks for it. It is about swarms: on a bridge it does nothing, and it does not go on.
    network.flag("Attachable")?;
    if let Some(at) = network.field("EnableIPv4").filter(|at| at.flag() != Ok(true)) {
        return Err(at.refuse("an own network has IPv4"));
    }
    if let Some(at) = network.field("EnableIPv6").filter(|at| at.flag() != Ok(false)) {
        return Err(at.refuse("an own network has no IPv6"));
    }
    let mut labels = who::labels(&network.entries("Labels")?, context)?;
    who::mark(&mut labels, context, None);
    labels.insert("enforcer.network".to_owned(), json!("own"));
    labels.insert(names::IS_INTERNAL.to_owned(), json!(network.flag("Internal")?.to_string()));
    let prepared = context.bridge.ok_or_else(|| {
        forbidden("network.bridge", "there is no bridge for an own network".to_owned())
    })?;
    let Prepared { bridge, subnet: (subnet, length), gateway, .. } = prepared;
    let pool = json!({"Subnet": format!("{subnet}/{length}"), "Gateway": gateway.to_string()});
    Ok(Judged::new(
        json!({
            "Name": names::engine_name(context.principal, called),
            "Driver": "bridge",
            // Nothing leads beyond it in any case. The engine would give a notebook that joins another way out through
            // it, which is none, if its name comes before the guest network's.
            "Internal": true,
            "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Config": [pool]},
            "Options": {"com.docker.network.bridge.name": bridge},
            "Labels": Value::Object(labels),
        }),
        Notes::default(),
    ))
}

/// Judges the body of `POST /networks/{id}/connect`; the network of the path is an own one.
pub fn judge_connect(json: &Json, context: &Context<'_>) -> Result<Judged, Refusal> {
    let connect = Object::body(json, &fields::CONNECT)?;
    let container = container(&connect, context)?;
    let settings = connect.field("EndpointConfig").map(|at| networking::settings(&at, true));
    let settings = settings.transpose()?.unwrap_or_else(|| json!({}));
    Ok(Judged::new(json!({"Container": container, "EndpointConfig": settings}), Notes::default()))
}

/// Judges the body of `POST /networks/{id}/disconnect`; the network of the path is an own one.
pub fn judge_disconnect(json: &Json, context: &Context<'_>) -> Result<Judged, Refusal> {
    let disconnect = Object::body(json, &fields::DISCONNECT)?;
    let body =
        json!({"Container": container(&disconnect, context)?, "Force": disconnect.flag("Force")?});
    Ok(Judged::new(body, Notes::default()))
}

/// The full id of an own container; the notebook may join and leave too.
fn container<'a>(object: &Object<'_>, context: &Context<'a>) -> Result<&'a str, Refusal> {
    let called = object.text("Container")?;
    let found = own::container(context.facts, called).map(|own| own.id.as_str());
    found.ok_or_else(|| missing("container.unknown", format!("No such container: {called}")))
}

fn only(object: &Object<'_>, name: &str, values: &[&str]) -> Result<(), Refusal> {
    let is_other = |at: &At<'_>| !at.text().is_ok_and(|text| values.contains(&text));
    match object.field(name).filter(is_other) {
        Some(at) => Err(at.refuse("leave it out")),
        None => Ok(()),
    }
}

/// Whether one network more is within the rules.
fn quota(context: &Context<'_>) -> Result<(), Refusal> {
    let (count, most) = (context.facts.networks.len(), context.rules.max_networks as usize);
    if count < most {
        return Ok(());
    }
    let message = format!("there are {count} networks; at most {most}: remove one first");
    Err(forbidden("quota.networks", message))
}
