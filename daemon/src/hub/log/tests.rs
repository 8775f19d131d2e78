//! Tests of the log with a source that the test plays.
