//! What every store must do, and what only a file can do wrong.

use annals_core::{LogId, Offset, Tenant};
use annals_log::Bookmark;
use annals_views::store::{
    Build, Change, Document, DocumentKey, Layout, PAGE_DOCUMENTS_MAX, Place, Positions, Query, Stage,
};
use annals_views::{MemoryStore, SqliteStore, StoreError, ViewId, ViewStore};

use crate::domain::{balance_view, documents};

pub fn every_store(mut check: impl FnMut(&dyn ViewStore)) {
    check(&MemoryStore::new());
    let directory = tempfile::tempdir().unwrap();
    check(&SqliteStore::open(directory.path().join("views.sqlite")).unwrap());
}

fn at(offset: u64) -> Positions {
    vec![Some(Bookmark { log_id: LogId(uuid::Uuid::from_u128(5)), offset: Offset(offset), crc: u32::MAX })]
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn key(tenant: Option<&Tenant>, key: &str) -> DocumentKey {
    DocumentKey { tenant: tenant.cloned(), key: key.to_owned() }
}

fn plain(json: &[u8]) -> Document {
    Document { json: json.to_vec(), values: Vec::new() }
}

fn put(store: &dyn ViewStore, view: &ViewId, keys: &[DocumentKey]) {
    let mut keys = keys.to_vec();
    keys.sort();
    let documents = keys.into_iter().map(|key| {
        let json = serde_json::to_vec(&key.key).unwrap();
        (key, Some(Document { json, values: Vec::new() }))
    });
    store.create(view, &Layout::default()).unwrap();
    let from = store.positions(view).unwrap();
    let next = from.first().copied().flatten().map_or(0, |bookmark| bookmark.offset.0 + 1);
    store
        .save(view, &Change { documents: documents.collect(), from, to: at(next), ..Change::default() })
        .unwrap();
}

#[test]
fn of_two_runners_one_is_superseded() {
    every_store(|store| {
        let view = balance_view();
        let change = |from: Positions, to: Positions, json: &str| Change {
            documents: vec![(key(None, "ann"), Some(plain(json.as_bytes())))],
            from,
            to,
            ..Change::default()
        };
        let missing = store.save(&view, &change(Vec::new(), at(3), "1")).unwrap_err();
        assert_eq!(missing, StoreError::Missing { view: view.clone() });
        store.create(&view, &Layout::default()).unwrap();
        store.save(&view, &change(Vec::new(), at(3), "1")).unwrap();
        let late = store.save(&view, &change(Vec::new(), at(4), "2")).unwrap_err();
        assert_eq!(
            late.to_string(),
            "another runner has moved view balance@1 in shard 0 (saved: offset 3, expected: nothing); only one may follow a view"
        );
        store.save(&view, &change(at(3), at(5), "3")).unwrap();
        let late = store.save(&view, &change(at(3), at(5), "4")).unwrap_err();
        assert!(matches!(late, StoreError::Superseded { found: Some(Offset(5)), .. }), "{late}");
        assert_eq!(
            store.get(&view, None, "ann").unwrap().unwrap(),
            b"3",
            "the loser's documents are not written"
        );
        assert_eq!(store.positions(&view).unwrap(), at(5));
        store.drop_view(&view).unwrap();
        let dropped = store.save(&view, &change(at(5), at(6), "5")).unwrap_err();
        assert!(matches!(dropped, StoreError::Superseded { found: None, .. }), "{dropped}");
        assert_eq!(store.get(&view, None, "ann").unwrap(), None);
    });
}

#[test]
fn positions_of_shards_that_were_not_read_stay_apart() {
    every_store(|store| {
        let view = balance_view();
        store.create(&view, &Layout::default()).unwrap();
        let some = at(u64::MAX)[0];
        let to = vec![None, some, None];
        store.save(&view, &Change { from: vec![None; 3], to: to.clone(), ..Change::default() }).unwrap();
        let saved = store.positions(&view).unwrap();
        assert_eq!(saved.iter().flatten().collect::<Vec<_>>(), to.iter().flatten().collect::<Vec<_>>());
        assert_eq!((saved[0], saved[1]), (None, some));
        store.save(&view, &Change { from: to, to: vec![some; 3], ..Change::default() }).unwrap();
        assert_eq!(store.positions(&view).unwrap(), vec![some; 3]);
    });
}

#[test]
fn documents_are_loaded_in_the_order_asked_and_removed() {
    every_store(|store| {
        let view = balance_view();
        let acme = tenant("acme");
        let keys = [key(None, "b"), key(Some(&acme), "a"), key(None, "a")];
        assert_eq!(store.load(&view, &keys).unwrap(), vec![None; 3]);
        put(store, &view, &keys[..2]);
        let json = |text: &str| Some(format!("\"{text}\"").into_bytes());
        assert_eq!(store.load(&view, &keys).unwrap(), vec![json("b"), json("a"), None]);
        let remove =
            Change { documents: vec![(keys[0].clone(), None)], from: at(0), to: at(1), ..Change::default() };
        store.save(&view, &remove).unwrap();
        assert_eq!(store.load(&view, &keys).unwrap(), vec![None, json("a"), None]);
    });
}

#[test]
fn lists_are_cut_by_prefix_and_tenant() {
    every_store(|store| {
        let view = balance_view();
        let acme = tenant("acme");
        let names = [
            "%",
            "a%",
            "a%b",
            "a_",
            "a_b",
            "ab",
            "axb",
            "ä",
            "äb",
            "z\u{10ffff}",
            "日本",
            "日本語",
            "a\u{0}b",
            "'; DROP TABLE views; --",
        ];
        let mut keys: Vec<DocumentKey> = names.iter().map(|name| key(None, name)).collect();
        keys.extend(["a_c", "acme-only"].map(|name| key(Some(&acme), name)));
        put(store, &view, &keys);
        let list = |tenant: Option<&Tenant>, prefix: &str, after: Option<&str>| -> Vec<String> {
            let after = after.map(|key| Place { value: None, key: key.to_owned() });
            let query = Query { tenant, prefix, after: after.as_ref(), limit: 100, ..Query::default() };
            let page = store.list(&view, &query).unwrap();
            assert_eq!(page.next, None);
            page.documents
                .into_iter()
                .map(|(key, json)| {
                    assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), key);
                    key
                })
                .collect()
        };
        let mut sorted: Vec<&str> = names.to_vec();
        sorted.sort_unstable();
        assert_eq!(list(None, "", None), sorted);
        assert_eq!(list(None, "a_", None), ["a_", "a_b"]);
        assert_eq!(list(None, "a%", None), ["a%", "a%b"]);
        assert_eq!(list(None, "%", None), ["%"]);
        assert_eq!(list(None, "ä", None), ["ä", "äb"]);
        assert_eq!(list(None, "日本", None), ["日本", "日本語"]);
        assert_eq!(list(None, "z\u{10ffff}", None), ["z\u{10ffff}"]);
        assert_eq!(list(None, "'", None), ["'; DROP TABLE views; --"]);
        assert_eq!(list(None, "nobody", None), [""; 0]);
        assert_eq!(list(Some(&acme), "a", None), ["a_c", "acme-only"]);
        assert_eq!(list(Some(&tenant("other")), "", None), [""; 0]);
        // A cursor from elsewhere neither leaves the prefix nor comes before it.
        assert_eq!(list(None, "a_", Some("a")), ["a_", "a_b"]);
        assert_eq!(list(None, "a_", Some("a_")), ["a_b"]);
        assert_eq!(list(None, "a_", Some("b")), [""; 0]);
    });
}

#[test]
fn pages_follow_each_other_without_gap() {
    every_store(|store| {
        let view = balance_view();
        let names: Vec<String> = (0..PAGE_DOCUMENTS_MAX + 1).map(|n| format!("k{n:05}")).collect();
        put(store, &view, &names.iter().map(|name| key(None, name)).collect::<Vec<_>>());
        for size in [1, 7, 50] {
            let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
            loop {
                let after = cursor.take().map(|key| Place { value: None, key });
                let query = Query { prefix: "k000", after: after.as_ref(), limit: size, ..Query::default() };
                let page = store.list(&view, &query).unwrap();
                seen.extend(page.documents.into_iter().map(|(key, _)| key));
                pages += 1;
                let Some(next) = page.next else { break };
                assert_eq!(seen.len(), pages * size);
                cursor = Some(next);
            }
            assert_eq!(seen, names[..100], "pages of {size}");
            assert_eq!(pages, 100_usize.div_ceil(size));
        }
        let length = |limit| store.list(&view, &Query { limit, ..Query::default() }).unwrap().documents.len();
        let most = PAGE_DOCUMENTS_MAX;
        assert_eq!([0, 1, 2].map(length), [1, 1, 2]);
        assert_eq!([most - 1, most, most + 1].map(length), [most - 1, most, most]);
    });
}

#[test]
fn views_and_revisions_are_apart() {
    every_store(|store| {
        let first = balance_view();
        let second = ViewId { revision: 2, ..first.clone() };
        put(store, &first, &[key(None, "a")]);
        put(store, &second, &[key(None, "b")]);
        let views = || store.builds().unwrap().into_iter().map(|build| build.view).collect::<Vec<_>>();
        assert_eq!(views(), [first.clone(), second.clone()]);
        store.drop_view(&first).unwrap();
        store.drop_view(&first).unwrap();
        assert_eq!(views(), std::slice::from_ref(&second));
        assert_eq!(store.positions(&first).unwrap(), Positions::new());
        assert_eq!(documents(store, &first, None), []);
        assert_eq!(documents(store, &second, None), [("b".to_owned(), b"\"b\"".to_vec())]);
    });
}

#[test]
fn of_the_builds_of_a_view_one_is_live() {
    every_store(|store| {
        let first = balance_view();
        let again = ViewId { build: 2, ..first.clone() };
        let other = ViewId::first("totals", 1);
        let layout = Layout { indexes: vec!["amount".to_owned()] };
        assert_eq!(store.promote(&first).unwrap_err(), StoreError::Missing { view: first.clone() });
        for view in [&first, &again, &other] {
            store.create(view, &layout).unwrap();
            store.create(view, &layout).unwrap();
        }
        let stages = || -> Vec<(ViewId, Stage)> {
            let stage = |build: Build| {
                assert_eq!(build.layout, layout);
                (build.view, build.stage)
            };
            store.builds().unwrap().into_iter().map(stage).collect()
        };
        let expect = |one, two, three| {
            let expected = [(first.clone(), one), (again.clone(), two), (other.clone(), three)];
            assert_eq!(stages(), expected);
        };
        expect(Stage::Building, Stage::Building, Stage::Building);
        store.promote(&first).unwrap();
        store.promote(&other).unwrap();
        expect(Stage::Live, Stage::Building, Stage::Live);
        store.promote(&again).unwrap();
        store.promote(&again).unwrap();
        expect(Stage::Kept, Stage::Live, Stage::Live);
        let other_layout = store.create(&first, &Layout::default()).unwrap_err();
        assert_eq!(
            other_layout.to_string(),
            "view balance@1 is kept with indexes on [amount], the projection declares []; raise its REVISION"
        );
    });
}

#[test]
fn documents_of_all_tenants_are_counted_and_scanned() {
    every_store(|store| {
        let view = balance_view();
        let (acme, zeta) = (tenant("acme"), tenant("zeta"));
        assert_eq!((store.count(&view).unwrap(), store.scan(&view, None, 9).unwrap()), (0, Vec::new()));
        let keys = [key(None, "b"), key(None, "ä"), key(Some(&acme), "a"), key(Some(&zeta), "")];
        put(store, &view, &keys);
        assert_eq!(store.count(&view).unwrap(), 4);
        for size in 1..6 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let some = store.scan(&view, after.as_ref(), size).unwrap();
                let Some((last, _)) = some.last() else { break };
                after = Some(last.clone());
                seen.extend(some.into_iter().map(|(key, _)| key));
            }
            assert_eq!(seen, keys, "{size} at a time");
        }
    });
}

#[test]
fn a_file_is_written_by_one_and_read_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("views.sqlite");
    let missing = SqliteStore::open_read_only(&path).unwrap_err();
    assert!(matches!(missing, StoreError::Failed { .. }), "{missing}");
    let view = balance_view();
    let writer = SqliteStore::open(&path).unwrap();
    put(&writer, &view, &[key(None, "a")]);
    let second = SqliteStore::open(&path).unwrap_err().to_string();
    let process = format!("is open for writing in process {}; stop it", std::process::id());
    assert!(second.contains(&process), "{second}");
    let reader = SqliteStore::open_read_only(&path).unwrap();
    assert_eq!(documents(&reader, &view, None).len(), 1);
    put(&writer, &view, &[key(None, "b")]);
    assert_eq!(documents(&reader, &view, None).len(), 2, "a reader sees what is saved later");
    let refused = reader.save(&view, &Change { from: at(1), to: at(2), ..Change::default() }).unwrap_err();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    assert!(matches!(reader.drop_view(&view), Err(StoreError::ReadOnly { .. })));
    drop((writer, reader));
    let again = SqliteStore::open(&path).unwrap();
    assert_eq!((documents(&again, &view, None).len(), again.positions(&view).unwrap()), (2, at(1)));
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "not a database, but long enough to have a header of one hundred bytes".repeat(20))
        .unwrap();
    let before = std::fs::read(&text).unwrap();
    for error in [SqliteStore::open(&text).unwrap_err(), SqliteStore::open_read_only(&text).unwrap_err()] {
        assert!(
            error.to_string().ends_with("is not a file of views: it is not an SQLite database"),
            "{error}"
        );
    }
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = directory.path().join("other.sqlite");
    let database = rusqlite::Connection::open(&other).unwrap();
    database.execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
    let error = SqliteStore::open(&other).unwrap_err().to_string();
    assert!(error.ends_with("is not a file of views: it is a database of another program"), "{error}");
    let tables: i64 = database.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_newer_schema_is_refused_by_its_version() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("views.sqlite");
    drop(SqliteStore::open(&path).unwrap());
    for (version, known) in [(1, false), (2, true), (3, false)] {
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let opened = SqliteStore::open(&path);
        assert_eq!(opened.is_ok(), known, "{version}");
        if let Err(error) = opened {
            assert!(matches!(error, StoreError::Version { found, .. } if found == version), "{error}");
        }
    }
}
