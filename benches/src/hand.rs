//! The rival: what an expert would type.

use std::process::{Command, Stdio};

use milestream_cluster::Server;

use crate::Bench;
use crate::people::execute;

const SELECT: &str = "select id, \"firstName\", \"lastName\", dob, employer, dod, ds_surf_all_hash, ds_surf_key_hash, 2 \
                      from hub_store1_people_merge where ds_surf_batch_in <= 2 and ds_surf_batch_out >= 2";

const TABLE: &str = "create table hand (id varchar(20) not null, \"firstName\" varchar(100), \"lastName\" varchar(100), \
                     dob date, employer varchar(100), dod date, ds_surf_all_hash varchar(32) collate \"C\" not null, \
                     ds_surf_key_hash varchar(32) collate \"C\" not null, ds_surf_batch_id integer not null)";

/// `psql COPY binary | psql COPY binary` into a table without indexes, then the same indexes one after another.
///
/// # Panics
/// When there is no `psql`, or when it fails.
pub async fn hand_pipe(bench: &Bench) {
    execute(&bench.secondary, TABLE).await;
    let out = format!("copy ({SELECT}) to stdout (format binary)");
    let mut reader = psql(&bench.primary, &out).stdout(Stdio::piped()).spawn().expect("psql of the primary");
    let rows = reader.stdout.take().expect("its output");
    let written = psql(&bench.secondary, "copy hand from stdin (format binary)").stdin(rows).status();
    assert!(written.expect("psql of the secondary").success() && reader.wait().expect("psql").success());
    for statement in [
        "alter table hand add primary key (id)",
        "create index on hand (ds_surf_key_hash)",
        "create index on hand (ds_surf_all_hash)",
        "vacuum analyze hand",
    ] {
        execute(&bench.secondary, statement).await;
    }
}

fn psql(server: &Server, statement: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-q", "-X", "-v", "ON_ERROR_STOP=1", "-d", &server.url("merge"), "-c", statement]);
    command
}
