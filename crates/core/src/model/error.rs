//! Why documents are no model.

use std::fmt;

use super::position::Position;

/// One place where a document is no part of a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The text is not JSON.
    #[error("{document}:{position}: this is not valid JSON: {what}")]
    Syntax {
        /// The document's name.
        document: String,
        /// Where reading stopped.
        position: Position,
        /// What the parser says.
        what: String,
    },
    /// An object has a key twice, so that one of the two values would be lost.
    #[error("{document}:{position}: {path} is written twice: keep one of the two, or rename one")]
    RepeatedKey {
        /// The document's name.
        document: String,
        /// Where the second one is.
        position: Position,
        /// The path of the key.
        path: String,
    },
    /// A value is missing or not of the kind that DataSurface's notation has there.
    #[error("{document}:{position}: {path}: {what}")]
    Shape {
        /// The document's name.
        document: String,
        /// Where the value is, or the object that lacks it.
        position: Position,
        /// Its path.
        path: String,
        /// What was expected and what was found.
        what: String,
    },
}

impl ModelError {
    /// Where in the document it is.
    pub fn position(&self) -> Position {
        match self {
            ModelError::Syntax { position, .. }
            | ModelError::RepeatedKey { position, .. }
            | ModelError::Shape { position, .. } => *position,
        }
    }
}

/// Everything that keeps some documents from being a model: every mistake of every document, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelErrors(pub Vec<ModelError>);

impl fmt::Display for ModelErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ModelErrors {}
