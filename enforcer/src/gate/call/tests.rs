use super::*;

fn user() -> Principal {
    let user = crate::access::name::User {
        hub: "lab".parse().expect("a hub"),
        name: "ada".parse().expect("a user"),
    };
    Principal::User(user)
}

fn read(request: &str) -> Result<Call, Refusal> {
    let (method, target) = request.split_once(' ').expect(request);
    call(&user(), &method.parse().expect(method), target)
}

#[test]
fn s2_requests_of_docker_and_of_its_library_for_python_are_read() {
    for request in [
        "HEAD /_ping",
        "GET /_ping",
        "GET /v1.46/version",
        "GET /v1.46/info",
        "GET /v1.46/events?filters=%7B%22type%22%3A%7B%22container%22%3Atrue%7D%7D&since=1700000000.000000000",
        "GET /v1.46/containers/json?all=1&limit=1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D",
        "GET /v1.46/containers/json?limit=-1&all=0&size=0&trunc_cmd=0",
        "POST /v1.46/containers/create?name=db&platform=linux%2Famd64",
        "POST /v1.46/containers/create",
        "POST /v1.46/containers/0123abcd/start",
        "POST /v1.46/containers/db/stop?t=10",
        "POST /v1.46/containers/db/restart?signal=SIGTERM&t=0",
        "POST /v1.46/containers/db/kill?signal=KILL",
        "POST /v1.46/containers/db/kill?signal=9",
        "POST /v1.46/containers/db/kill",
        "DELETE /v1.46/containers/db?v=False&link=False&force=True",
        "DELETE /v1.46/containers/db?force=1&v=1",
        "GET /v1.46/containers/db/logs?follow=1&stderr=1&stdout=1&tail=all",
        "GET /v1.46/containers/db/logs?stderr=1&stdout=1&timestamps=0&follow=0&tail=5&since=1700000000",
        "POST /v1.46/containers/db/wait?condition=removed",
        "POST /v1.46/containers/db/attach?stderr=1&stdin=1&stdout=1&stream=1",
        "POST /v1.46/containers/db/attach?detachKeys=ctrl-p%2Cctrl-q&logs=0&stream=1&stdout=1",
        "POST /v1.46/containers/db/resize?h=24&w=80",
        "POST /v1.46/exec/0123abcd/resize?h=24&w=80",
        "GET /v1.46/containers/db/top?ps_args=aux",
        "GET /v1.46/containers/db/stats?stream=false&one-shot=1",
        "POST /v1.46/containers/db/rename?name=db2",
        "POST /v1.46/images/create?fromImage=docker.io%2Flibrary%2Falpine&tag=latest&platform=",
        "POST /v1.46/images/create?tag=3.19&fromImage=alpine",
        "POST /v1.46/build?buildargs=%7B%7D&cachefrom=%5B%5D&cgroupparent=&cpuperiod=0&cpuquota=0&cpusetcpus=&cpusetmems=&cpushares=0&dockerfile=Dockerfile&labels=%7B%7D&memory=0&memswap=0&networkmode=default&rm=1&shmsize=0&t=x&target=&ulimits=%5B%5D&version=1",
        "POST /v1.46/build?t=x&q=False&nocache=False&rm=False&forcerm=False&pull=False",
        "GET /v1.46/images/json?only_ids=0&all=0",
        "GET /v1.46/images/quay.io/jupyter/base-notebook:latest/json",
        "POST /v1.46/images/alpine:3.19/tag?repo=mine&tag=1",
        "POST /v1.46/images/alpine:3.19/tag?tag=1&repo=mine&force=0",
        "DELETE /v1.46/images/mine:1?force=False&noprune=False",
        "POST /v1.46/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D",
        "GET /v1.46/networks?filters=%7B%22name%22%3A%7B%22app_default%22%3Atrue%7D%7D",
    ] {
        assert!(read(request).is_ok(), "{request}: {:?}", read(request));
    }
}

#[test]
fn s23_the_engine_fetches_nothing_but_images_by_name() {
    for (target, rule) in [
        ("fromSrc=http://10.0.0.1/x", "image.import"),
        ("fromSrc=-&repo=x", "image.import"),
        ("", "image.import"),
        ("fromImage=&fromSrc=http://10.0.0.1/x", "image.import"),
        ("fromImage=alpine&tag=1&fromSrc=http://10.0.0.1/x", "query.unknown"),
        ("fromImage=alpine&tag=1&repo=x", "query.unknown"),
        ("fromImage=alpine&tag=1&changes=RUN%20x", "query.unknown"),
        ("fromImage=alpine&tag=1&message=x", "query.unknown"),
        ("fromImage=alpine", "image.all-tags"),
        ("fromImage=alpine&tag=", "image.all-tags"),
        ("fromImage=10.0.0.1:5000/alpine", "image.all-tags"),
        ("fromImage=alpine:1&tag=2", "image.twice"),
        ("fromImage=a%40sha256:00&tag=2", "image.twice"),
        ("fromImage=alpine&tag=1&FromImage=b", "query.unknown"),
    ] {
        let refusal = read(&format!("POST /images/create?{target}")).expect_err(target);
        assert_eq!(refusal.rule, rule, "{target}");
    }
}

#[test]
fn s08_values_that_a_call_does_not_take_are_refused() {
    for request in [
        "POST /containers/db/start?checkpoint=x",
        "POST /containers/db/start?checkpoint-dir=/",
        "POST /containers/db/stop?t=-1",
        "POST /containers/db/stop?t=601",
        "POST /containers/db/kill?signal=0",
        "POST /containers/db/kill?signal=65",
        "POST /containers/db/kill?signal=-9",
        "POST /containers/db/kill?signal=SIGSIGKILL",
        "POST /containers/db/kill?signal=KILL%20",
        "DELETE /containers/db?link=1",
        "DELETE /containers/db?volumes=1",
        "GET /containers/db/logs?tail=-1",
        "GET /containers/db/logs?tail=all%20",
        "GET /containers/db/logs?since=10m",
        "POST /containers/db/wait?condition=",
        "POST /containers/db/wait?condition=exited",
        "POST /containers/db/attach?detachKeys=ctrl-pp",
        "POST /containers/db/resize?h=-1&w=1",
        "POST /containers/db/resize?h=10001&w=1",
        "GET /containers/db/top?ps_args=e",
        "GET /containers/db/top?ps_args=-o%20pid,args",
        "GET /containers/db/top?ps_args=-ef%20-q1",
        "POST /containers/db/rename",
        "POST /containers/db/rename?name=../x",
        "POST /containers/db/rename?name=-x",
        "POST /containers/create?name=a/b",
        "POST /containers/create?name=//a",
        "POST /containers/create?platform=linux%20amd64",
        "POST /containers/create?platform=%7B%7D",
        "POST /containers/-db/start",
        "POST /containers/.db/start",
        "POST /containers/a:b/start",
        "POST /containers/a%40b/start",
        "DELETE /images/alpine?force=1",
        "POST /images/alpine/tag",
        "GET /networks/x?scope=swarm",
        "GET /containers/json?limit=-2",
        "GET /containers/json?since=%2Fdb",
        "GET /containers/json?filters=%7B%22is-task%22%3A%5B%22true%22%5D%7D",
        "GET /info?x=1",
        "GET /_ping?x=1",
    ] {
        // An empty condition is as none, as the engine has it.
        assert!(read(request).is_err() || request.ends_with("condition="), "{request}");
    }
}
