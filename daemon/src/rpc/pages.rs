//! Reads of what may be long. They go a few at a time, and one whose process has not read what it was answered
//! before (an eighth of its share) waits for that first: several pages at once are nothing to be refused for as long as
//! they are read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::Status;

use super::accept::Peer;
use super::archive::{DEADLINE, SEARCH_DEADLINE};
use super::budget::Budget;
use super::convert;

/// Read at once: one by the store, one made into an answer.
const READS: usize = 2;

/// Searches at once. They wait for the index.
const SEARCHES: usize = 2;

/// Whose turn it is. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    unread: Budget,
    reads: Arc<Semaphore>,
    searches: Arc<Semaphore>,
}

impl Pages {
    /// `unread` is what has been answered and not read.
    pub(super) fn new(unread: Budget) -> Self {
        Self {
            unread,
            reads: Arc::new(Semaphore::new(READS)),
            searches: Arc::new(Semaphore::new(SEARCHES)),
        }
    }

    /// What the archive answers, once it is this call's turn, all within the deadline.
    ///
    /// # Errors
    /// 90004: the process has to read first. 90001: it took too long. What the archive says.
    pub(super) async fn read<T, E: convert::Failed>(
        &self,
        peer: &Peer,
        call: &str,
        page: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Status> {
        self.in_turn(&self.reads, DEADLINE, peer, call, page).await
    }

    /// As [`Pages::read`], for a search.
    ///
    /// # Errors
    /// As [`Pages::read`].
    pub(super) async fn search<T, E: convert::Failed>(
        &self,
        peer: &Peer,
        call: &str,
        page: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Status> {
        self.in_turn(&self.searches, SEARCH_DEADLINE, peer, call, page)
            .await
    }

    async fn in_turn<T, E: convert::Failed>(
        &self,
        turns: &Semaphore,
        deadline: Duration,
        peer: &Peer,
        call: &str,
        page: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Status> {
        let work = async {
            loop {
                let freed = self.unread.freed();
                if self.unread.is_pressed(peer) {
                    freed.await;
                    continue;
                }
                // It is never closed.
                let _turn = turns.acquire().await;
                if !self.unread.is_pressed(peer) {
                    return page.await.map_err(convert::failed);
                }
            }
        };
        match tokio::time::timeout(deadline, work).await {
            Ok(page) => page,
            Err(_) if self.unread.is_pressed(peer) => Err(self.unread.refusal(peer)),
            Err(_) => Err(convert::late(call, deadline)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use imd_proto::code::Code;
    use imd_proto::status::from_status;

    use super::*;
    use crate::rpc::budget::UNREAD;
    use crate::store::StoreError;

    type Answer = Result<u8, StoreError>;

    #[tokio::test(start_paused = true)]
    async fn a_read_for_whom_there_is_no_turn_ends_at_its_deadline_and_searches_have_turns_of_their_own() {
        let pages = Pages::new(Budget::new("bytes", UNREAD));
        let peer = Peer::for_test(1);
        let read = || pages.read(&peer, "ListMessages", ready::<Answer>(Ok(5)));
        let taken = pages.reads.acquire_many(2).await.unwrap();
        let late = read().await.unwrap_err();
        assert_eq!(from_status(&late).code, Code::IMD_DEADLINE_EXCEEDED);
        let search = pages.search(&peer, "SearchMessages", ready::<Answer>(Ok(4)));
        assert_eq!(search.await.unwrap(), 4);
        drop(taken);
        assert_eq!(read().await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_for_a_process_until_it_reads() {
        let unread = Budget::new("bytes of answers that have not been read", UNREAD);
        let pages = Pages::new(unread.clone());
        let held = unread.count(1, UNREAD.of_process / 8);
        let (deaf, other) = (Peer::for_test(1), Peer::for_test(2));
        let never = pages.read(&deaf, "ListMessages", async { panic!("it was read") as Answer });
        assert_eq!(from_status(&never.await.unwrap_err()).code, Code::IMD_TOO_MANY);
        let read = |peer| pages.read(peer, "ListMessages", ready::<Answer>(Ok(1)));
        assert_eq!(read(&other).await.unwrap(), 1);
        let (page, ()) = tokio::join!(read(&deaf), async { drop(held) });
        assert_eq!(page.unwrap(), 1);
    }
}
