//! The pure core of Milestream: everything that can be decided without asking a database.
//!
//! - [`model`] reads an ecosystem in DataSurface's JSON notation, [`lint`] says what is wrong with it, and [`resolve`]
//!   says for each platform and store who reads the source and who pulls from whom.
//! - [`stream`] has what is moved, and [`names`] the tables and keys it is found by.
//! - [`milestone`] and [`delta`] are the algebra of versions and batches, [`chunk`] and [`catch_up`] the plans of a sync.
//!
//! There is no runtime here, no SQL driver, no clock and no random number: the same arguments have the same answer.

pub mod catch_up;
pub mod chunk;
pub mod delta;
pub mod lint;
pub mod milestone;
pub mod model;
pub mod names;
pub mod near;
pub mod resolve;
pub mod stream;
