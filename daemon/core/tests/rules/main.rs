//! The rules of the connection, one by one and readable: the verdict table, connecting, reconnecting.
//!
//! What happens when all of them meet is the matter of the `model` test.

#[cfg(test)]
mod clocks;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod reconnect;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod verdicts;
#[cfg(test)]
mod wanted;
#[cfg(test)]
mod wish;
