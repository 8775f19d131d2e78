//! Who may run: the two locks held for life.
