use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;

const LIMIT: u64 = 1 << 20;

/// An archive as a client may write it: nothing is checked.
fn raw(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (kind, path, said) in entries {
        let mut header = Header::new_gnu();
        let data = if matches!(kind, EntryType::Symlink | EntryType::Link) { "" } else { said };
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_mtime(7);
        header.set_size(u64::try_from(data.len()).expect("short"));
        let gnu = header.as_gnu_mut().expect("GNU");
        gnu.name[..path.len()].copy_from_slice(path.as_bytes());
        if data.is_empty() {
            gnu.linkname[..said.len()].copy_from_slice(said.as_bytes());
        }
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(data.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.extend_from_slice(&[0; 1024]);
    archive
}

fn file<'a>(path: &'a str, text: &'a str) -> (EntryType, &'a str, &'a str) {
    (EntryType::Regular, path, text)
}

fn rewritten(archive: &[u8], wanted: &str) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let rewritten = rewrite(archive, Vec::new(), wanted, LIMIT)?;
    let dockerfile = rewritten.dockerfile.clone();
    Ok((dockerfile, rewritten.finish("FROM x\n").expect("written")))
}

/// Kind, path, and text or target of each entry.
fn entries(archive: &[u8]) -> Vec<(EntryType, String, String)> {
    let mut archive = Archive::new(archive);
    let entries = archive.entries().expect("entries").map(|entry| {
        let mut entry = entry.expect("an entry");
        let (kind, path) =
            (entry.header().entry_type(), entry.path().expect("a path").display().to_string());
        let mut text = entry
            .link_name_bytes()
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .unwrap_or_default();
        entry.read_to_string(&mut text).expect("a text");
        (kind, path, text)
    });
    entries.collect()
}

#[test]
fn s2_a_context_goes_on_entry_by_entry_with_the_dockerfile_that_was_judged() {
    let long = format!("d/{}", "x".repeat(90));
    let archive = raw(&[
        (EntryType::Directory, "./", ""),
        file("./Dockerfile", "FROM a"),
        (EntryType::Directory, "d/", ""),
        file("d//./f", "text"),
        file(&long, ""),
        (EntryType::Symlink, "d/link", "../../etc/passwd"),
        (EntryType::Link, "d/same", "./d/f"),
    ]);
    let (dockerfile, written) = rewritten(&archive, "Dockerfile").expect("read");
    assert_eq!(dockerfile, b"FROM a");
    let owned = |kind, path: &str, text: &str| (kind, path.to_owned(), text.to_owned());
    let expected = [
        owned(EntryType::Regular, "Dockerfile", "FROM a"),
        owned(EntryType::Directory, "d", ""),
        owned(EntryType::Regular, "d/f", "text"),
        owned(EntryType::Regular, &long, ""),
        owned(EntryType::Symlink, "d/link", "../../etc/passwd"),
        owned(EntryType::Link, "d/same", "d/f"),
        owned(EntryType::Regular, ".dockerignore", ".enforcer.dockerfile\n.dockerignore\n"),
        owned(EntryType::Regular, ".enforcer.dockerfile", "FROM x\n"),
    ];
    assert_eq!(entries(&written), expected);
    // The same, compressed.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&archive).expect("written");
    let compressed = rewritten(&gzip.finish().expect("ended"), "Dockerfile").expect("read");
    assert_eq!(entries(&compressed.1), expected);
}

#[test]
fn s2_a_client_s_dockerignore_keeps_its_lines() {
    let archive =
        raw(&[file("Dockerfile", "FROM a"), file(".dockerignore", "x\n!.enforcer.dockerfile")]);
    let (_, written) = rewritten(&archive, "Dockerfile").expect("read");
    let ignore = entries(&written).into_iter().find(|(_, path, _)| path == ".dockerignore");
    assert_eq!(ignore.expect("there").2, "x\n!.enforcer.dockerfile\n.enforcer.dockerfile\n");
}

#[test]
fn s2_a_dockerfile_is_found_where_the_engine_finds_it() {
    for (wanted, found) in [("Dockerfile", "upper"), ("a/Other", "other"), ("dockerfile", "lower")]
    {
        let archive = raw(&[
            file("dockerfile", "lower"),
            file("Dockerfile", "upper"),
            file("./a/Other", "other"),
        ]);
        assert_eq!(rewritten(&archive, wanted).expect(wanted).0, found.as_bytes());
    }
    let lower = raw(&[file("dockerfile", "lower")]);
    assert_eq!(rewritten(&lower, "Dockerfile").expect("read").0, b"lower");
    assert!(rewritten(&lower, "Other").is_err());
    assert!(rewritten(&raw(&[(EntryType::Directory, "Dockerfile", "")]), "Dockerfile").is_err());
}

#[test]
fn s21_what_could_be_unpacked_elsewhere_or_read_in_two_ways_is_refused() {
    let dockerfile = file("Dockerfile", "FROM a");
    for entries in [
        &[file("Dockerfile", "FROM b")][..],
        &[file("./Dockerfile", "FROM b")],
        &[file("../x", "")],
        &[file("a/../../x", "")],
        &[file("/etc/passwd", "")],
        &[file("", "")],
        &[file(".", "")],
        &[file("a", ""), file("a", "")],
        &[file("a", ""), file("a/b", "")],
        &[file("a/b", ""), file("a", "")],
        &[(EntryType::Symlink, "a", "/etc"), file("a/passwd", "")],
        &[file("a/b", ""), (EntryType::Symlink, "a", "/etc")],
        &[(EntryType::Symlink, ".dockerignore", "/etc/passwd")],
        &[(EntryType::Directory, ".dockerignore", "")],
        &[file(".enforcer.dockerfile", "FROM b")],
        &[(EntryType::Symlink, "./.enforcer.dockerfile", "a")],
        &[(EntryType::Directory, ".enforcer.dockerfile", "")],
        &[file(".enforcer.dockerfile/x", "")],
        &[file(".dockerignore/x", "")],
        &[(EntryType::Symlink, "a", "")],
        &[(EntryType::Link, "a", "/etc/shadow")],
        &[(EntryType::Link, "a", "../x")],
        &[(EntryType::Link, "a", "none")],
        &[(EntryType::Link, "a", "Dockerfile/x")],
        &[(EntryType::Char, "a", "")],
        &[(EntryType::Block, "a", "")],
        &[(EntryType::Fifo, "a", "")],
        &[(EntryType::GNUSparse, "a", "")],
    ] {
        let all: Vec<_> = [dockerfile].iter().chain(entries).copied().collect();
        assert!(rewritten(&raw(&all), "Dockerfile").is_err(), "{entries:?}");
    }
    let link = raw(&[file("a", "FROM b"), (EntryType::Symlink, "Dockerfile", "a")]);
    assert!(rewritten(&link, "Dockerfile").is_err());
    let hard = raw(&[file("a", "FROM b"), (EntryType::Link, "Dockerfile", "a")]);
    assert!(rewritten(&hard, "Dockerfile").is_err());
}

#[test]
fn s30_a_context_is_bounded_unpacked_too() {
    let refused = |archive: &[u8]| rewritten(archive, "Dockerfile").expect_err("too long");
    let long = "x".repeat(usize::try_from(LIMIT).expect("small"));
    let archive = raw(&[file("Dockerfile", "FROM a"), file("a", &long)]);
    assert_eq!(refused(&archive).rule, "build.context-long");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&archive).expect("written");
    let bomb = gzip.finish().expect("ended");
    assert!(bomb.len() < 10_000);
    assert_eq!(refused(&bomb).rule, "build.context-long");
    let file_ = "x".repeat(usize::try_from(MAX_TEXT).expect("small") + 1);
    assert!(rewritten(&raw(&[file("Dockerfile", &file_)]), "Dockerfile").is_err());
}

#[test]
fn s2_what_is_no_archive_is_refused() {
    for bytes in
        [&b""[..], b"FROM a\n", b"BZh9", &[0x1f, 0x8b, 8], &[0x28, 0xb5, 0x2f, 0xfd], &[0; 10_240]]
    {
        assert!(rewritten(bytes, "Dockerfile").is_err(), "{bytes:?}");
    }
    let mut cut = raw(&[file("Dockerfile", "FROM a"), file("a", "text")]);
    cut.truncate(1_600);
    assert!(rewritten(&cut, "Dockerfile").is_err());
}

#[test]
fn s26_names_that_are_deep_and_many_are_refused() {
    let context = |many: usize| {
        let mut archive = Builder::new(Vec::new());
        for at in 0..many {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(0);
            let path = format!("{at}/{}x", "a/".repeat(1_500));
            archive.append_data(&mut header, path, io::empty()).expect("written");
        }
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(6);
        archive.append_data(&mut header, "Dockerfile", b"FROM a".as_slice()).expect("written");
        archive.into_inner().expect("written")
    };
    assert!(rewritten(&context(2), "Dockerfile").is_ok());
    let refusal = rewritten(&context(30), "Dockerfile").expect_err("too much to remember");
    assert!(refusal.message.contains("too many names"), "{refusal}");
}

proptest! {
    /// Whatever was read: each path once, none that leads out, ours last.
    #[test]
    fn s21_what_goes_on_has_each_path_once(
        listed in proptest::collection::vec(
            (0_u8..5, "(\\./)?[ab](/[ab.]{1,2}){0,2}/?", "[ab/.]{0,4}"),
            0..8,
        )
    ) {
        let kinds = [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Regular];
        let mut all = vec![file("Dockerfile", "FROM a")];
        all.extend(listed.iter().map(|(kind, path, said)| {
            let kind = kinds[usize::from(*kind)];
            (kind, path.as_str(), if kind == EntryType::Directory { "" } else { said.as_str() })
        }));
        let Ok((_, written)) = rewritten(&raw(&all), "Dockerfile") else { return Ok(()) };
        let entries = entries(&written);
        let mut files = std::collections::BTreeSet::new();
        for (kind, path, _) in &entries {
            prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
            prop_assert!(*kind == EntryType::Directory || files.insert(path.clone()), "{path} twice");
        }
        for (_, path, _) in &entries {
            for (at, _) in path.match_indices('/') {
                prop_assert!(!files.contains(path.split_at(at).0), "{path} below what is no directory");
            }
        }
        prop_assert_eq!(entries.last().map(|entry| entry.1.as_str()), Some(DOCKERFILE));
    }

    #[test]
    fn s26_no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = rewritten(&bytes, "Dockerfile");
    }
}
