//! One session of a database for all streams that ask it, one after the other.
//!
//! A command about hundreds of streams must not take the connections of those who work with the server. What a first
//! stream finds out of a server that does not answer holds for the others too.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::failure::Failure;
use crate::StreamName;
use crate::error::Result;
use crate::postgres::session::Patience;
use crate::postgres::{Endpoint, Session};

/// Databases that one command asks at the same time.
pub(super) const DATABASES_MAX: usize = 8;

/// Something to ask of a database for a stream, with the patience for it.
pub(super) struct Question<'a, T> {
    pub(super) stream: StreamName,
    pub(super) of: &'a Arc<Endpoint>,
    pub(super) patience: Patience,
    pub(super) about: T,
}

/// Asks all questions, those of one database over one session; the answers are in the questions' order. The failure of one
/// that nobody can be asked is its answer.
pub(super) async fn ask_all<'a, T, A>(
    name: &'static str,
    questions: Vec<Result<Question<'a, T>, Failure>>,
    ask: impl AsyncFn(&mut Session, T) -> Result<A>,
) -> Vec<Result<A, Failure>> {
    let (mut numbered, mut answers) = (Vec::new(), Vec::new());
    for (at, question) in questions.into_iter().enumerate() {
        match question {
            Ok(question) => numbered.push((question.of, (at, question))),
            Err(failure) => answers.push((at, Err(failure))),
        }
    }
    let ask = &ask;
    let databases = by_database(numbered).into_iter().map(async |(_, questions)| {
        let (mut session, mut answers) = (SharedSession::new(name), Vec::new());
        for (at, Question { stream, of, patience, about }) in questions {
            let answer = match session.open(of, patience).await {
                Ok(opened) => ask(opened, about).await.map_err(|error| Failure::of(&error, &stream)),
                Err(failure) => Err(failure),
            };
            if answer.is_err() {
                // Nobody knows in what state it is.
                session.drop_session();
            }
            answers.push((at, answer));
        }
        session.close().await;
        answers
    });
    let mut answered = stream::iter(databases).buffer_unordered(DATABASES_MAX);
    while let Some(of_database) = answered.next().await {
        answers.extend(of_database);
    }
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// A session that is opened when it is first needed, and again after an error.
pub(super) struct SharedSession {
    /// What it shows of itself in `pg_stat_activity`.
    name: &'static str,
    session: Option<Session>,
    /// Why no session can be opened, and to whom that was told first.
    refused: Option<(Arc<Endpoint>, Failure)>,
}

impl SharedSession {
    pub(super) fn new(name: &'static str) -> SharedSession {
        SharedSession { name, session: None, refused: None }
    }

    /// The session, under the name that `endpoint` has for the database. Its patience is that of whoever opened it.
    ///
    /// # Errors
    /// Why it cannot be opened; found out once.
    pub(super) async fn open(
        &mut self,
        endpoint: &Arc<Endpoint>,
        patience: Patience,
    ) -> Result<&mut Session, Failure> {
        if let Some((first, failure)) = &self.refused {
            return Err(failure.told_of(first, endpoint));
        }
        let session = match self.session.take() {
            Some(session) => session,
            None => match Session::connect_reader(endpoint, self.name, patience).await {
                Ok(session) => session,
                Err(error) => {
                    let failure = Failure::of_database(&error);
                    self.refused = Some((Arc::clone(endpoint), failure.clone()));
                    return Err(failure);
                }
            },
        };
        let session = self.session.insert(session);
        session.endpoint = Arc::clone(endpoint);
        Ok(session)
    }

    /// Gives a session up that met an error.
    pub(super) fn drop_session(&mut self) {
        self.session = None;
    }

    /// Says good-bye.
    pub(super) async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}

/// Things by the database that they are asked of, in the order in which they came.
pub(super) fn by_database<'a, T>(
    things: impl IntoIterator<Item = (&'a Arc<Endpoint>, T)>,
) -> Vec<(Arc<Endpoint>, Vec<T>)> {
    let mut groups: Vec<(Arc<Endpoint>, Vec<T>)> = Vec::new();
    for (endpoint, thing) in things {
        match groups.iter_mut().find(|(known, _)| known.is_same_login(endpoint)) {
            Some((_, group)) => group.push(thing),
            None => groups.push((Arc::clone(endpoint), vec![thing])),
        }
    }
    groups
}
