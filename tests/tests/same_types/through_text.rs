//! What has no binary form, or one that speaks of one server, and what loses something in it, goes through text.

use milestream_tests::{Setting, Table, World};
use milestream_worker::Holding;
use milestream_worker::sync::VerifySeed;

use super::redefined::{BOTH, insert, update, world};

/// A seed whose content is verified, a row-by-row comparison and an increment, for both holdings.
async fn arrives(world: World, first: &[&str], then: &[&str]) {
    let mut world = world.with_tuning(|tuning| tuning.verify_seed = VerifySeed::Content);
    world.commit(vec![insert(1, first), insert(2, then)]).await;
    let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 1).await;
    }
    world.commit(vec![update(1, then), insert(3, first)]).await;
    for job in jobs {
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        let job = std::sync::Arc::new(job);
        Box::pin(milestream_worker::comparison::compare_rows(&job)).await.unwrap();
    }
}

#[tokio::test]
async fn an_xml_declaration_arrives_as_it_is_stored() {
    let columns = [("x", "xml"), ("d", "doc"), ("xs", "xml[]")];
    let world = world("create domain doc as xml", &columns).await;
    let whole = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><a>é</a>";
    let latin = "<?xml version=\"1.0\" encoding=\"latin1\"?><a>é</a>";
    arrives(world, &[whole, latin, "{<a/>,<b/>}"], &["<a/>text", "<b/>", "{}"]).await;
}

#[tokio::test]
async fn a_declaration_within_a_composite_is_refused_before_it_is_lost() {
    let mut world = world("create type page as (n integer, x xml)", &[("p", "page")]).await;
    world.commit(vec![insert(1, &["(1,<a/>)"])]).await;
    let told = super::redefined::refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    assert!(told.contains("xml loses its declaration"), "{told}");
}

#[tokio::test]
async fn names_of_relations_and_roles_arrive_as_names_through_domains_and_arrays() {
    let types = "create table anchor (id integer); create domain relation as regclass; \
                 create domain relations as regclass[]";
    let columns = [("r", "relation"), ("rs", "relations"), ("t", "regtype[]"), ("a", "aclitem[]")];
    let world = world(types, &columns).await;
    // From here on the same name has another OID.
    world.execute("secondary", "drop domain relation, relations; drop table anchor; create table filler (); \
         create table anchor (id integer); create domain relation as regclass; create domain relations as regclass[]").await;
    let superuser = world.value("primary", "select current_user").await.unwrap();
    let grant = format!("{{{superuser}=r/{superuser}}}");
    arrives(world, &["anchor", "{anchor,pg_class}", "{integer}", &grant], &["pg_class", "{}", "{}", "{}"])
        .await;
}

#[tokio::test]
async fn types_without_a_hash_of_64_bits_are_verified_by_their_texts() {
    let types = "create extension isn; create extension citext; create extension seg; create domain span as int4range; \
                 create domain spans as int4multirange; create type mood as enum ('a', 'b'); \
                 create type moods as range (subtype = mood)";
    let columns = [
        ("i", "isbn"),
        ("s", "span"),
        ("ss", "spans"),
        ("c", "citext"),
        ("g", "seg"),
        ("m", "moods"),
        ("p", "point"),
        ("ps", "point[]"),
    ];
    let first = ["0-393-04002-X", "[1,5)", "{[1,3),[7,9)}", "É", "1 .. 2", "[a,b]", "(1,2)", "{\"(1,2)\"}"];
    let then = ["0-201-53082-1", "empty", "{}", "é", "1", "empty", "(0,0)", "{}"];
    arrives(world(types, &columns).await, &first, &then).await;
}

#[tokio::test]
async fn a_domain_and_its_base_are_the_same_values() {
    let columns = [("amt", "numeric(12,4)"), ("n", "wide"), ("d", "amount[]")];
    let types = "create domain wide as integer check (value > 0); create domain amount as numeric(12,4)";
    let world = world(types, &columns).await;
    let table = "create table edgeliveonly_store1_t_merge (id integer primary key, amt amount, n bigint, d numeric(12,4)[], \
                 ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
                 ds_surf_batch_id integer not null)";
    world.execute("secondary", table).await;
    arrives(world, &["1.2345", "7", "{1.0000,NULL}"], &["0.0000", "8", "{}"]).await;
}

#[tokio::test]
async fn databases_without_an_encoding_carry_bytes_that_are_no_utf8() {
    let types = "create type mood as enum ('a')";
    let database = "encoding 'SQL_ASCII' locale 'C' template template0";
    let setting = Setting { types: types.into(), database: database.into(), ..Setting::default() };
    for kind in ["text", "mood[]"] {
        let columns = [("note", "text"), ("other", kind)];
        let mut world =
            World::of(setting_like(&setting), vec![Table::new("t", &[("id", "integer")], &columns)]).await;
        world.commit(vec![insert(1, &["é", "{}"]), insert(2, &["plain", "{}"])]).await;
        // A byte of Latin-1, which no UTF-8 begins with.
        world
            .execute(
                "primary",
                "update hub_store1_t_merge set note = convert_from('\\xe9', 'SQL_ASCII') where id = 2",
            )
            .await;
        let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
        for job in &jobs {
            world.sync(job).await.unwrap();
            let notes = format!(
                "select string_agg(encode(note::bytea, 'hex'), ' ' order by id) from {}",
                world.merge_table(job, "t")
            );
            assert_eq!(world.value("secondary", notes).await.as_deref(), Some("c3a9 e9"));
        }
        world.commit(vec![update(1, &["ü", "{}"])]).await;
        for job in &jobs {
            world.sync(job).await.unwrap();
            let note =
                format!("select max(note collate \"C\") from {} where id = 1", world.merge_table(job, "t"));
            assert_eq!(world.value("secondary", note).await.as_deref(), Some("ü"));
        }
    }
}

fn setting_like(setting: &Setting) -> Setting {
    Setting { types: setting.types.clone(), database: setting.database.clone(), ..Setting::default() }
}
