//! The in-memory model that judges Milestream.
//!
//! It says what a primary's merge tables and its secondaries must hold after each batch, and finds the
//! differences to what they do hold. It depends on no other crate of the project and shares no code with any:
//! an error here and the same error there would hide each other. It knows a record by the list of the changes
//! it went through, never by milestones; those are derived at the end, when versions are asked for.
//!
//! Cells are text or NULL. What the text of a value is, under which settings, is the caller's choice; both
//! sides of a comparison must be read with the same.

mod difference;
mod history;
mod primary;
mod row;
mod secondary;

pub use difference::{ColumnDifference, Difference, Differences, differences};
pub use history::{BatchCounts, KeyCounts, TableHistory};
pub use primary::{Mistake, Operation, Primary};
pub use row::{Cell, LIVE, Row, Shape, Version};
pub use secondary::{Holding, Secondary, Synced};
