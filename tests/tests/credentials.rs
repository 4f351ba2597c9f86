//! A password that is changed while the worker runs is found at the next connect.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use milestream_cluster::ServerOptions;
use milestream_tests::{At, Setting, Table, World, execute, inserts, updates};
use milestream_worker::config::{Login, Secrets};
use milestream_worker::observer::{Step, Verdict};
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Endpoint, Error, Holding, Password};

async fn guarded() -> World {
    let server = ServerOptions { password: Some("right".into()), ..ServerOptions::named("guarded") };
    let mut world = World::of(Setting { server, ..Setting::default() }, vec![Table::people()]).await;
    world.commit(inserts("people", 0..300)).await;
    world.execute("postgres", "create role rotating superuser login password 'one'").await;
    world
}

/// The job whose primary is opened by a role with a password of this kind.
fn job_with(world: &World, password: Password) -> Job {
    let mut job = world.job("Edge", Holding::LiveOnly);
    let endpoint = world.endpoint("primary Hub", "primary");
    job.upstreams[0].endpoint = Arc::new(Endpoint { user: "rotating".into(), password, ..endpoint });
    job
}

fn write(directory: &Path, password: &str) {
    std::fs::create_dir_all(directory.join("hub")).unwrap();
    std::fs::write(directory.join("hub/user"), "rotating\n").unwrap();
    std::fs::write(directory.join("hub/password"), password).unwrap();
}

#[tokio::test]
async fn a_password_that_is_changed_during_a_sync_is_read_again() {
    let mut world = guarded().await;
    let secrets = tempfile::tempdir().unwrap();
    write(secrets.path(), "one");
    let directory = secrets.path().to_owned();
    let look = move || Secrets { variable: &|_| None, directory: Some(directory.clone()) }.login("hub");
    let job = job_with(&world, Password::LookedUp(Arc::new(look)));
    let (options, directory) = (world.connect_options("postgres"), secrets.path().to_owned());
    // The sessions that are open are ended too, so that every one of them has to log in again.
    let rotation = At::nth(Step::ChunkCommitted, 1, move || {
        let (options, directory) = (options.clone(), directory.clone());
        async move {
            write(&directory, "two");
            let rotate = "alter role rotating password 'two'; \
                          select pg_terminate_backend(pid) from pg_stat_activity where usename = 'rotating'";
            execute(&options, rotate.to_owned()).await;
            Verdict::GoOn
        }
    });
    let rotation = Arc::new(rotation);
    world.sync_with(&job, Until::CaughtUp, Arc::clone(&rotation) as _).await.unwrap();
    assert!(rotation.fired());
    let batch = world.commit(updates("people", 0..9, "changed")).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, batch).await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_looked_up_once_more() {
    let world = guarded().await;
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let look = move || {
        let password = if counted.fetch_add(1, Ordering::SeqCst) == 0 { "old" } else { "one" };
        Ok(Login { user: "rotating".into(), password: password.to_owned().into() })
    };
    let job = job_with(&world, Password::LookedUp(Arc::new(look)));
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    let wrong = || Ok(Login { user: "rotating".into(), password: "wrong".to_owned().into() });
    let job = job_with(&world, Password::LookedUp(Arc::new(wrong)));
    let refused = world.sync(&job).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
}
