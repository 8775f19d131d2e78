//! What the person wrote: settings, parsed and validated.
