use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{Json, Limits, MAX_DEPTH, Number, fold, read};

fn rule(text: impl AsRef<[u8]>) -> &'static str {
    match read(text.as_ref(), Limits::default()) {
        Ok(value) => panic!("accepted: {value:?}"),
        Err(refusal) => refusal.rule,
    }
}

fn accepted(text: &str) -> Json {
    read(text.as_bytes(), Limits::default()).expect(text)
}

#[test]
fn s07_duplicate_keys_are_refused() {
    for text in [
        r#"{"Binds":1,"Binds":1}"#,
        r#"{"Binds":1,"binds":1}"#,
        r#"{"Binds":1,"BINDS":1}"#,
        r#"{"Binds":1,"\u0042inds":1}"#,
        r#"{"Binds":1,"\u0062ind\u0073":1}"#,
        r#"{"Binds":1,"Bindſ":1}"#,
        r#"{"Binds":1,"Bind\u017f":1}"#,
        "{\"Links\":1,\"Lin\u{212a}s\":1}",
        r#"{"Links":1,"Lin\u212as":1}"#,
        r#"{"Privileged":false,"privileged":true}"#,
        r#"{"HostConfig":{"a":1},"HostConfig":{}}"#,
        r#"[{"x":{"a":1,"b":2,"A":3}}]"#,
        r#"{"":1,"":2}"#,
    ] {
        assert_eq!(rule(text), "json.duplicate", "{text}");
    }
    accepted(r#"{"a":{"a":[{"a":1},{"a":2}]},"b":{"a":1}}"#);
    // Go folds these to no ASCII letter, so that they name no field.
    accepted("{\"i\":1,\"\u{131}\":2,\"\u{130}\":3,\"é\":4,\"É\":5}");
}

#[test]
fn s07_what_another_reader_would_mend_is_refused() {
    let cases: &[(&[u8], &str)] = &[
        (b"\xef\xbb\xbf{}", "json.bom"),
        (b"\xff{}", "json.utf8"),
        (b"\"\xc0\x80\"", "json.utf8"),
        (b"\"\xed\xa0\x80\"", "json.utf8"),
        (b"{}{}", "json.trailing"),
        (b"{} {\"Privileged\":true}", "json.trailing"),
        (b"1,", "json.trailing"),
        (b"{}\0", "json.trailing"),
        (b"{}\x0b", "json.trailing"),
        (b"", "json.short"),
        (b"  ", "json.short"),
        (b"{\"a\":1", "json.short"),
        (b"[1,", "json.short"),
        (b"\"a", "json.short"),
        (b"tru", "json.short"),
        (b"{\"a\":1,}", "json.syntax"),
        (b"[1,]", "json.syntax"),
        (b"[1 2]", "json.syntax"),
        (b"{a:1}", "json.syntax"),
        (b"{'a':1}", "json.syntax"),
        (b"{\"a\" 1}", "json.syntax"),
        (b"{1:1}", "json.syntax"),
        (b"//x\n{}", "json.syntax"),
        (b"/**/{}", "json.syntax"),
        (b"NaN", "json.syntax"),
        (b"Infinity", "json.syntax"),
        (b"True", "json.syntax"),
        (b"\xc2\xa0{}", "json.syntax"),
        (b"-Infinity", "json.number"),
        (b"+1", "json.syntax"),
        (b"01", "json.number"),
        (b"-01", "json.number"),
        (b"1.", "json.number"),
        (b".5", "json.syntax"),
        (b"1e", "json.number"),
        (b"1e+", "json.number"),
        (b"-", "json.number"),
        (b"0x10", "json.trailing"),
        (b"1_000", "json.trailing"),
        (b"9223372036854775808", "json.number"),
        (b"-9223372036854775809", "json.number"),
        (b"1e999", "json.number"),
        (br#""\ud800""#, "json.surrogate"),
        (br#""\udc00""#, "json.surrogate"),
        (br#""\ud800\ud800""#, "json.surrogate"),
        (br#""\ud800x""#, "json.surrogate"),
        (br#""\ud800\n""#, "json.surrogate"),
        (br#""\x41""#, "json.text"),
        (br#""\u+041""#, "json.text"),
        (br#""\u00g0""#, "json.text"),
        (br#""\u004""#, "json.text"),
        ("\"\\é\"".as_bytes(), "json.text"),
        (b"\"a\nb\"", "json.text"),
        (b"\"\x00\"", "json.text"),
    ];
    for (text, expected) in cases {
        assert_eq!(rule(text), *expected, "{}", text.escape_ascii());
    }
}

#[test]
fn s07_nesting_is_bounded_whatever_is_asked_for() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    accepted(&nested(32));
    assert_eq!(rule(nested(33)), "json.depth");
    assert_eq!(rule("{\"a\":".repeat(10_000)), "json.depth");
    assert_eq!(rule("[".repeat(1 << 20)), "json.depth");
    let all = Limits { depth: u8::MAX, bytes: usize::MAX };
    assert!(read(nested(MAX_DEPTH.into()).as_bytes(), all).is_ok());
    assert!(read(nested(usize::from(MAX_DEPTH) + 1).as_bytes(), all).is_err());
    assert!(read(b"1", Limits { depth: 0, bytes: 1 }).is_ok());
    assert!(read(b"[]", Limits { depth: 0, bytes: 2 }).is_err());
}

#[test]
fn s06_a_body_that_is_too_long_is_not_read() {
    let limits = Limits { bytes: 10, depth: 4 };
    assert!(read(b"\"12345678\"", limits).is_ok());
    let refusal = read(b"\"123456789\"", limits).expect_err("11 bytes");
    assert_eq!((refusal.status.as_u16(), refusal.rule), (413, "json.long"));
    // What is no JSON at all is too long first.
    assert_eq!(rule(vec![0xff; (1 << 20) + 1]), "json.long");
}

#[test]
fn s07_numbers_and_texts_are_exact() {
    let whole = |number| Json::Number(Number::Whole(number));
    let decimal = |text: &str| Json::Number(Number::Decimal(text.to_owned()));
    assert_eq!(accepted("9223372036854775807"), whole(i64::MAX));
    assert_eq!(accepted("-9223372036854775808"), whole(i64::MIN));
    assert_eq!(accepted(" 0\r\n"), whole(0));
    assert_eq!(accepted("-0"), decimal("-0"));
    assert_eq!(accepted("1e3"), decimal("1e3"));
    assert_eq!(accepted("1.0"), decimal("1.0"));
    let text = |text: &str| Json::Text(text.to_owned());
    assert_eq!(
        accepted(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000é""#),
        text("\"\\/\u{8}\u{c}\n\r\té😀\0é")
    );
    assert_eq!(fold("Bindſ\u{212a}X"), "bindskx");
}

/// Text of a random value, with blanks and escapes where they may be.
fn texts() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "-?[0-9]{1,20}(\\.[0-9]{0,4})?([eE][+-]?[0-9]{1,3})?",
        "\\PC{0,8}".prop_map(|text| json!(text).to_string()),
        "\"(\\\\u[0-9a-fA-Fd]{4}|\\\\[\"/bfnrtx]|[a-zé😀ſ]){0,6}\"",
    ];
    let key = prop_oneof!["\"[a-cA-CſsSkK\u{212a}]{0,2}\"", "\"(\\\\u00[46][1-3]|[ab]){1,2}\"",];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        let blank = "[ \t\r\n]{0,2}";
        prop_oneof![
            (vec(inner.clone(), 0..6), blank)
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(","))),
            (vec((key.clone(), inner), 0..6), blank).prop_map(|(entries, blank)| {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{key}{blank}:{value}")).collect();
                format!("{{{}{blank}}}", entries.join(","))
            }),
        ]
    })
}

/// What is accepted, another reader reads as the same.
fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let ours = read(text, Limits::default());
    let theirs = serde_json::from_slice::<Value>(text);
    if let Ok(ours) = ours {
        prop_assert_eq!(Some(ours.to_value()), theirs.ok(), "{}", text.escape_ascii());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn s07_what_is_accepted_serde_reads_as_the_same(text in texts()) {
        agrees(text.as_bytes())?;
    }

    #[test]
    fn s07_a_broken_text_is_read_by_both_or_refused(
        text in texts(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\\u0eE-. "[..])],
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        agrees(&bytes)?;
        bytes.truncate(at);
        agrees(&bytes)?;
    }

    #[test]
    fn s07_any_bytes_are_read_as_serde_does_or_refused(bytes in vec(any::<u8>(), 0..64)) {
        agrees(&bytes)?;
    }

    #[test]
    fn s07_a_plain_value_is_accepted(keys in vec("[a-z]{1,4}", 0..8), number in any::<i64>()) {
        let value: Value =
            keys.iter().map(|key| (key.clone(), json!([number, key, {"x": null}]))).collect();
        let text = value.to_string();
        let ours = read(text.as_bytes(), Limits::default());
        prop_assert_eq!(ours.map(|json| json.to_value()).ok(), Some(value));
    }
}
