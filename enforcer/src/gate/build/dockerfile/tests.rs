use proptest::prelude::*;

use super::*;

const ID: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

fn reserved(key: &str) -> Option<&'static str> {
    key.starts_with("enforcer.").then_some("it is enforcer's")
}

fn read(text: &str, arguments: &[(&str, Option<&str>)]) -> Result<Dockerfile, Refusal> {
    let own = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(own).collect();
    Dockerfile::read(text.as_bytes(), &arguments, &reserved)
}

fn images(text: &str, arguments: &[(&str, Option<&str>)]) -> Vec<String> {
    let file = read(text, arguments).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
    file.images().into_iter().map(str::to_owned).collect()
}

fn written(file: &Dockerfile) -> String {
    let ids = file.images().into_iter().map(|name| (name.to_owned(), ID.to_owned())).collect();
    file.write(&ids, &("enforcer.build", "ann".to_owned())).expect("all have ids")
}

#[test]
fn s22_a_build_is_made_from_what_its_from_and_copy_lines_name() {
    for (text, arguments, expected) in [
        ("FROM alpine:3", &[][..], &["alpine:3"][..]),
        ("from scratch\nCOPY a /", &[], &[]),
        (
            "FROM alpine:3 AS one\nRUN x\nFROM One\nCOPY --from=ONE a b\nCOPY --from=0 c d",
            &[],
            &["alpine:3"],
        ),
        ("FROM a\nCOPY --from=quay.io/b/c:1 --chown=1:1 x y", &[], &["a", "quay.io/b/c:1"]),
        // The current stage is none yet, so its name is an image's.
        ("FROM a AS b\nCOPY --from=b x y", &[], &["a", "b"]),
        // FROM knows no numbers.
        ("FROM a\nFROM 0", &[], &["0", "a"]),
        ("ARG V=3.1\nARG I=a:$V\nFROM $I", &[], &["a:3.1"]),
        ("ARG V=\"3\"\nFROM a:${V}", &[("V", Some("4"))], &["a:4"]),
        ("ARG V=3\nFROM a:${V}", &[("V", None)], &["a:3"]),
        ("ARG V\nFROM a:${V:-5}", &[], &["a:5"]),
        // What was not said before the first FROM is nothing there.
        ("FROM b\nARG V=1\nFROM a$V", &[("V", Some("x"))], &["a", "b"]),
        ("FROM a\\\n:2\n", &[], &["a:2"]),
        ("FROM a\nCOPY --from=scratch x y", &[], &["a", "scratch"]),
    ] {
        assert_eq!(images(text, arguments), expected, "{text}");
    }
}

#[test]
fn s2_what_goes_on_has_ids_for_images_and_says_whose_each_stage_is() {
    let text = "# syntax=docker/dockerfile:1\nARG V=3\nFROM alpine:$V as one\nRUN echo \\\n  # no\n  $V\n\
                FROM one AS two\nCOPY --chown=1 --from=busybox [\"a\", \"b\"]\nADD x.tar /\nFROM scratch\nCOPY --from=1 / /\n";
    let expected = format!(
        "ARG V=3\nFROM {ID} AS one\nLABEL enforcer.build=ann\nRUN echo   $V\n\
         FROM one AS two\nLABEL enforcer.build=ann\nCOPY --from={ID} --chown=1 [\"a\", \"b\"]\nADD x.tar /\n\
         FROM scratch\nLABEL enforcer.build=ann\nCOPY --from=1 / /\n"
    );
    assert_eq!(written(&read(text, &[]).expect("read")), expected);
    let file = read("FROM a\nCOPY --from=b x y", &[]).expect("read");
    let ids = BTreeMap::from([("a".to_owned(), ID.to_owned())]);
    assert_eq!(
        file.write(&ids, &("a", "b".to_owned())),
        None,
        "an image without an id is not written"
    );
}

#[test]
fn s23_what_the_engine_would_fetch_by_itself_is_refused() {
    for source in [
        "http://127.0.0.1:2375/x /",
        "https://a/x /",
        "a http://b/x /",
        "HTTP://a/x /",
        "git@github.com:a/b.git /",
        "https://github.com/a/b.git#main /",
        "$U /",
        "${U}://a/x /",
        "ht\"tp://a/x\" /",
        "h\\ttp:\\/\\/a/x /",
        "--chown=1 http://a/x /",
        // The engine's reader ends a flag at the second byte of these.
        "--chown=a\u{a0}http://a/x /",
        "--chown=\u{e0}http://a/x /",
        "--chown=a\u{85}http://a/x /",
        "--chown=1 \u{a0}--chown=2 http://a/x /",
        "[\"http://a/x\", \"/\"]",
        "[\"http:\\u002f\\u002fa/x\", \"/\"]",
        "  [\"h$U\", \"/\"]",
        "[\"a\", 1]",
        "[http://a/x /",
        "--checksum=sha256:0 http://a/x /",
    ] {
        let text = format!("FROM a\nENV U=http\nADD {source}");
        let refusal = read(&text, &[]).expect_err(source);
        assert_eq!(refusal.rule, "build.dockerfile", "{source}");
    }
    assert!(read("FROM a\nADD a b* $HERE/\nADD --chown=1:1 [\"a b\", \"/$X\"]", &[]).is_ok());
}

#[test]
fn s23_a_flag_is_what_the_engine_takes_for_one() {
    for line in [
        "COPY --chown=a\u{a0}--from=other / /loot",
        "COPY --chown=\u{c5} --from=other / /loot",
        "COPY --from=a\u{2003}b / /loot",
        "HEALTHCHECK --interval=1ms CMD true",
        "HEALTHCHECK --interval=0s CMD true",
        "HEALTHCHECK --start-interval=0.1s CMD true",
        "HEALTHCHECK --interval=1s\u{a0}--interval=1ms CMD true",
    ] {
        assert!(read(&format!("FROM a\n{line}"), &[]).is_err(), "{line}");
    }
    assert!(read("FROM a\nHEALTHCHECK --interval=30s --timeout=500ms CMD true", &[]).is_ok());
}

#[test]
fn s22_nobody_says_in_a_dockerfile_whose_it_is() {
    for line in [
        "LABEL enforcer.user=ben",
        "LABEL a=b enforcer.user=ben",
        "LABEL enforcer.user ben",
        "LABEL \"enforcer.user\"=ben",
        "LABEL 'enforcer.user'=ben",
        "LABEL \"enforcer\".user=ben",
        "LABEL enf\\orcer.user=ben",
        "LABEL $X.user=ben",
        "LABEL a=\"b c\" \\\n enforcer.user=ben",
        "LABEL a=b\\ c enforcer.user=ben",
        "LABEL a=b c",
        "LABEL a=\"b",
        "ENV JUPYTERHUB_USER=ben",
        "ENV JUPYTERHUB_USER ben",
        "ENV A=b JUPYTERHUB_SERVER_NAME=x",
        "ENV $A=b",
        "ARG JUPYTERHUB_USER=ben",
        "ARG A JUPYTERHUB_USER",
        "ARG $A=b",
        "ARG \"JUPYTERHUB_USER\"=ben",
    ] {
        assert!(read(&format!("FROM a\n{line}"), &[]).is_err(), "{line}");
    }
    let harmless = "FROM a\nLABEL \"com.example.vendor\"=\"A $X enforcer.user=b\" v=1\nENV A=b C=\"d e\"\nENV P a b=c\nARG X=1";
    assert!(read(harmless, &[]).is_ok());
}

#[test]
fn s02_other_instructions_and_flags_are_refused() {
    for text in [
        "",
        "# nothing",
        "RUN x\nFROM a",
        "ARG X",
        "FROM a b",
        "FROM a AS",
        "FROM a AS 1b",
        "FROM a AS b\nFROM c AS B",
        "FROM --platform=linux/arm64 a",
        "FROM $X{",
        "FROM ${X:+a}",
        "FROM \"a\"",
        "FROM a;b",
        "ARG X='a\"b'\nFROM $X",
        "ARG X=a\\b\nFROM $X",
        "FROM",
        "FROM $EMPTY",
        "FROM a\nONBUILD COPY --from=b x y",
        "FROM a\nonbuild RUN x",
        "FROM a\nRUN --mount=type=bind,from=b,target=/b ls",
        "FROM a\nRUN --network=host x",
        "FROM a\nRUN --security=insecure x",
        "FROM a\nRUN cat <<EOF\nFROM b AS c\nEOF",
        "FROM a\nCOPY <<E /x\nE",
        "FROM a\nCOPY --from=$X a b",
        "FROM a\nCOPY --from=\"b\" a b",
        "FROM a\nCOPY --from= a b",
        "FROM a\nCOPY --from=b --from=c a b",
        "FROM a\nCOPY --link a b",
        "FROM a\nCOPY -- a b",
        "FROM a\nCOPY --from=0 a b",
        "FROM a\nFROM b\nCOPY --from=1 a b",
        "FROM a\nCOPY --FROM=b a b",
        "FROM a\nHEALTHCHECK --x=1 NONE",
        "FROM a\nCMD --x",
        "FROM a\nINSERT x",
        "FROM a\nRUN\u{a0}x",
        "FR\u{131}M a",
    ] {
        assert!(read(text, &[]).is_err(), "{text:?}");
    }
    assert!(
        read("FROM a\nHEALTHCHECK --interval=5s --retries=3 CMD x\nHEALTHCHECK NONE", &[]).is_ok()
    );
    assert!(read(&format!("FROM a\nRUN {}", "x".repeat(MAX_LINE + 1)), &[]).is_err());
    assert!(read(&format!("FROM a\n{}", "USER x\n".repeat(MAX_STEPS)), &[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever is in a file that is taken: a reader that knows nothing but words finds ids and earlier stages only.
    #[test]
    fn s22_no_image_is_named_in_what_goes_on(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("FROM "), Just("COPY "), Just("--from="), Just("ARG "), Just("A=b"), Just("$A"), Just("a"), Just("b"),
                Just(" AS "), Just("\n"), Just("\nFROM a\n"), Just("\\\n"), Just("#"), Just(" "), Just("\""), Just("0"),
                Just("RUN x "), Just("<"), Just("\t"), Just("scratch"), Just("\nFROM a AS b\n"), Just("\r\n"), Just("\\"),
            ],
            0..25,
        )
    ) {
        let Ok(file) = read(&pieces.concat(), &[]) else { return Ok(()) };
        let text = written(&file);
        let mut stages: Vec<String> = Vec::new();
        let mut current: Option<String> = None;
        let mut count = 0_usize;
        for line in text.lines() {
            prop_assert!(!line.trim_end().ends_with('\\') && !line.trim_start().starts_with('#'), "{text}");
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_known = |name: &str| name == ID || stages.iter().any(|stage| stage == name);
            if words[0].eq_ignore_ascii_case("FROM") {
                stages.extend(current.take());
                let is_known = words[1] == ID || words[1] == "scratch" || stages.iter().any(|stage| stage == words[1]);
                prop_assert!(is_known, "{text}");
                current = words.get(3).map(|&name| name.to_owned());
                count += 1;
            } else if words[0].eq_ignore_ascii_case("COPY") {
                for flag in words.iter().skip(1).take_while(|word| word.starts_with("--")) {
                    let from = flag.strip_prefix("--from=").unwrap_or(ID);
                    let is_number = from.parse::<usize>().is_ok_and(|number| number + 1 < count);
                    prop_assert!(is_known(from) || is_number, "{text}");
                }
            }
        }
        // And it is read again as what it is.
        prop_assert!(read(&text.replace("enforcer.build", "x"), &[]).is_ok(), "{text}");
    }
}
