//! `POST /containers/{id}/exec` and `POST /exec/{id}/start`. That the container and the instance are the principal's
//! own is judged by their paths; in it, a command may be any user.

use serde_json::{Map, Value, json};

use super::{
    super::{json::Json, verdict::Refusal},
    Judged, Notes, fields,
    object::Object,
    plain, who,
};

/// Longest command with its variables, bytes: the engine keeps them until some minutes after the command's end.
const MAX_COMMAND: usize = 16 << 10;

/// Judges the body that makes an instance.
pub fn judge(json: &Json) -> Result<Judged, Refusal> {
    let exec = Object::body(json, &fields::EXEC)?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty"] {
        set(name, json!(exec.flag(name)?));
    }
    for (name, most) in [("User", 256), ("WorkingDir", 4096), ("DetachKeys", 64)] {
        match exec.field(name).map(|at| plain::line(&at, most)).transpose()? {
            None | Some("") => {}
            Some(line) => drop(set(name, json!(line))),
        }
    }
    let variables: Result<Vec<&str>, Refusal> =
        exec.list("Env")?.iter().map(who::variable).collect();
    let variables = variables?;
    if !variables.is_empty() {
        set("Env", json!(variables));
    }
    let command = exec.field("Cmd").ok_or_else(|| exec.absent("Cmd", "a command must be named"))?;
    let words = plain::command(&command)?;
    if words.is_empty() {
        return Err(command.refuse("a command must be named"));
    }
    let bytes = words.iter().chain(&variables).map(|word| word.len() + 1).sum::<usize>();
    if bytes > MAX_COMMAND {
        return Err(command
            .refuse(format_args!("a command and its variables have at most {MAX_COMMAND} bytes")));
    }
    set("Cmd", json!(words));
    if let Some(at) = exec.field("ConsoleSize") {
        set("ConsoleSize", json!(plain::console(&at)?));
    }
    // Clients repeat here what the path says and what the start is going to say. The engine reads neither.
    exec.flag("Detach")?;
    exec.text("Container")?;
    Ok(Judged::new(Value::Object(body), Notes::default()))
}

/// Judges the body that starts one.
pub fn judge_start(json: &Json) -> Result<Judged, Refusal> {
    let start = Object::body(json, &fields::EXEC_START)?;
    let mut body = json!({"Detach": start.flag("Detach")?, "Tty": start.flag("Tty")?});
    // Without a terminal, the engine takes no size, and clients send zeros.
    if let Some(at) = start.field("ConsoleSize") {
        let size = plain::console(&at)?;
        if start.flag("Tty")? {
            body["ConsoleSize"] = json!(size);
        }
    }
    Ok(Judged::new(body, Notes::default()))
}
