//! The status as the world sees it, made from the state and nowhere else.

use super::Core;
use super::link::{Link, Sync};
use super::target::Want;
use crate::io::{Action, ConnectionStatus, OfflineSync, Status};

impl Core {
    /// Publishes the status, if it has changed.
    pub(super) fn publish(&mut self) {
        let mut status = self.status_now();
        match &self.published {
            Some(published) => {
                status.generation = published.generation;
                if status == *published {
                    return;
                }
                status.generation = status.generation.saturating_add(1);
            }
            None => status.generation = 1,
        }
        self.published = Some(status.clone());
        self.push(Action::Publish(Box::new(status)));
    }

    fn status_now(&self) -> Status {
        let (status, attempt, last_code, app_key, user_id) = match &self.want {
            Want::Off(ending) => (
                ending.status,
                0,
                ending.code,
                ending.app_key.clone(),
                ending.user_id.clone(),
            ),
            Want::On(target) => (
                self.link_status(),
                target.attempt,
                target.last_code,
                Some(target.app_key.clone()),
                target.user_id.clone(),
            ),
        };
        let (next_retry, offline_sync) = match &self.link {
            Link::Waiting { until, .. } => (Some(*until), OfflineSync::NotConnected),
            Link::Online { session } => (
                None,
                match session.sync {
                    Sync::Running { .. } => OfflineSync::Running,
                    Sync::Complete => OfflineSync::Complete,
                    Sync::Incomplete => OfflineSync::Incomplete,
                },
            ),
            Link::Idle
            | Link::Opening(_)
            | Link::Paused { .. }
            | Link::Dialing { .. }
            | Link::LoggingIn { .. }
            | Link::Erasing { .. } => (None, OfflineSync::NotConnected),
        };
        Status {
            status,
            generation: 0,
            reason: match &self.renewal.note {
                Some(note) => format!("{}; {note}", self.reason),
                None => self.reason.clone(),
            },
            attempt,
            next_retry,
            last_code,
            network: self.network,
            app_key,
            user_id,
            server: self.server.clone(),
            offline_sync,
            storage_full: self.storage_full.clone(),
        }
    }

    /// The status of a connection that is wanted.
    fn link_status(&self) -> ConnectionStatus {
        match &self.link {
            Link::Idle
            | Link::Opening(_)
            | Link::Dialing { .. }
            | Link::LoggingIn { .. }
            | Link::Erasing { .. } => ConnectionStatus::Connecting,
            Link::Paused { .. } => ConnectionStatus::NetworkUnavailable,
            Link::Waiting { .. } => ConnectionStatus::Suspend,
            Link::Online { .. } => ConnectionStatus::Connected,
        }
    }
}
