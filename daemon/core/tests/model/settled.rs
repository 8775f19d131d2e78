//! What must hold when all is done that one input asked for.

use imd_core::account::Token;
use imd_core::io::{ConnectKey, ConnectionStatus, OfflineSync, Opened};
use imd_core::{Core, WakeUp};

use crate::around::Reach;
use crate::checks::{Checked, ensure, is_end};
use crate::link::{Doom, Link, Stage, Sync};
use crate::pace::Wait;
use crate::reference::{DatabaseState, EDGE, Model, Need, State, Told};

impl Model {
    /// All is done that the input asked for.
    pub(crate) fn settle(&mut self, core: &Core) -> Checked {
        if let Some(answer) = self.step.answer.as_ref() {
            ensure!(answer.got.is_some(), "{:?} is not answered", answer.call);
        }
        if self.stopped {
            ensure!(!self.step.stop || self.step.stopped, "Stop without Stopped");
            ensure!(self.step.told.is_empty(), "a stop calls nobody back");
            ensure!(!self.step.off_written, "a stop leaves the wanted state as it is");
            let closed = self.step.closing.as_ref().is_none_or(|closing| closing.done);
            ensure!(closed, "a stop leaves the link open");
            ensure!(
                core.poll_timeout().is_none(),
                "a stopped daemon wants to be woken"
            );
            return Ok(());
        }
        self.settle_callbacks()?;
        self.settle_state()?;
        self.settle_link()?;
        self.settle_status(core)?;
        self.settle_wake_ups(core)?;
        self.settle_instances(core)
    }

    pub(crate) fn settle_callbacks(&mut self) -> Checked {
        let step = std::mem::take(&mut self.step.tells);
        for (key, allowed) in &step {
            let got = self.step.told.get(key).cloned().unwrap_or(Told::Nothing);
            ensure!(
                allowed.contains(&got),
                "{}/{} is told {got:?}, expected one of {allowed:?}",
                key.instance.0,
                key.connect.0
            );
            self.conclude(key, &got);
            // Of several allowed codes, this is the one that a later replay must tell.
            if let Some(latest) = self.latest_mut(key)
                && let (State::Over(told @ Told::Error(_)), Told::Error(_)) = (&mut latest.state, &got)
            {
                *told = got.clone();
            }
        }
        for (key, got) in &self.step.told {
            ensure!(
                step.contains_key(key),
                "{}/{} is told {got:?}, expected nothing",
                key.instance.0,
                key.connect.0
            );
        }
        let over = |key: &ConnectKey| matches!(self.step.told.get(key), Some(Told::Error(_)));
        for (key, expected) in &self.step.opens {
            let got: Option<&Result<Opened, ()>> = self.step.opened.get(key);
            ensure!(
                got.is_some() || !expected.must || expected.well && over(key),
                "{}/{} does not hear onDatabaseOpened",
                key.instance.0,
                key.connect.0
            );
        }
        if self.hold.is_none() {
            ensure!(
                self.pending().is_empty(),
                "the connection is over, and somebody was not told"
            );
        }
        if let Some(answer) = self.step.answer.as_ref()
            && answer.got == Some(Ok(()))
        {
            for entry in self.instances.values_mut() {
                if let Some(latest) = entry.latest.as_mut() {
                    latest.answered = true;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn settle_state(&self) -> Checked {
        let disk = self.disk.as_ref();
        if self.step.off == Need::Must && self.hold.is_none() {
            ensure!(
                disk.is_none_or(|disk| !disk.wanted),
                "the connection is over, and still remembered as wanted"
            );
        }
        let token: Option<&Token> = disk.and_then(|disk| disk.token.as_ref());
        if self.step.erased && self.hold.is_none() {
            ensure!(token.is_none(), "the token is still in the file");
        }
        if let Some(accepted) = &self.step.remembered {
            ensure!(
                token == Some(accepted),
                "the token that the CONNACK took is not the one remembered"
            );
        }
        ensure!(self.step.login.is_none(), "no Login after CONNACK");
        ensure!(
            self.step.open_account.is_none(),
            "the account of the last run is not opened"
        );
        ensure!(!self.step.group_refused, "nobody is told of the refused group");
        Ok(())
    }

    pub(crate) fn settle_link(&self) -> Checked {
        let now = self.now.boot;
        if let Some(closing) = &self.step.closing {
            ensure!(
                closing.done || closing.need != Need::Must,
                "{:?} should have been hung up",
                closing.epoch
            );
        }
        if let Some(at_once) = &self.step.at_once {
            ensure!(
                at_once.done || at_once.need != Need::Must || self.hold.is_none(),
                "the redirect or fallback is not followed"
            );
        }
        ensure!(
            self.step.wipe != Need::Must,
            "no clean reconnect after a logout in 3.1.1"
        );
        if let Some(link) = &self.link {
            ensure!(
                !matches!(link.doom(now), Doom::Dies(_)),
                "a dead link is kept ({:?})",
                link.stage
            );
            ensure!(
                self.step.ping != Need::Must || self.step.pinged || !link.is_online(),
                "the link is in doubt, and not asked"
            );
            if let Stage::Online { up, sync, .. } = link.stage {
                let due = up.received + up.keep_alive + EDGE;
                ensure!(now < due || up.is_pinging(), "nothing received, and no PINGREQ");
                let (need, complete) = self.step.sync;
                ensure!(
                    need != Need::Must || sync == Sync::Told,
                    "no OFFLINE_SYNC_COMPLETED {{ {complete} }}"
                );
            }
            ensure!(link.wipe || self.hold.is_some(), "a link that nobody wants");
            return Ok(());
        }
        let Some(hold) = &self.hold else {
            return Ok(());
        };
        if let Some(account) = self.account() {
            match self.database_of(&account) {
                Some(DatabaseState::Opening) => return Ok(()),
                Some(DatabaseState::Open) => {}
                Some(DatabaseState::Failed) | None => {
                    return Err(format!("{account} is neither open nor being opened"));
                }
            }
        }
        match self.reach() {
            Reach::Here => {}
            Reach::Nowhere | Reach::Unclear => return Ok(()),
        }
        match self.pace.wait {
            Some(wait) => ensure!(
                now < wait.span.to + EDGE,
                "the next attempt is overdue by {:?} ({:?})",
                now.since(wait.span.to),
                wait.cause
            ),
            None => return Err(format!("no attempt although {} wants one", hold.app_key)),
        }
        Ok(())
    }

    pub(crate) fn settle_status(&self, core: &Core) -> Checked {
        ensure!(
            core.status() == self.status.as_ref(),
            "status() is not what was published"
        );
        let Some(status) = &self.status else {
            return self
                .hold
                .is_none()
                .then_some(())
                .ok_or_else(|| "wanted, and no status published".to_owned());
        };
        let got = status.status;
        let expected: Vec<ConnectionStatus> = match (&self.hold, &self.link) {
            (None, _) => match &self.ended {
                Some(ended) => ended.clone(),
                None => ConnectionStatus::ALL
                    .into_iter()
                    .filter(|status| is_end(*status))
                    .collect(),
            },
            (Some(_), Some(link)) if link.is_online() => vec![ConnectionStatus::Connected],
            (Some(_), Some(link)) if !link.wipe && self.reach() != Reach::Here => {
                vec![ConnectionStatus::Connecting, ConnectionStatus::NetworkUnavailable]
            }
            (Some(_), Some(link)) if !link.wipe => vec![ConnectionStatus::Connecting],
            (Some(_), _) if self.reach() == Reach::Unclear => vec![
                ConnectionStatus::NetworkUnavailable,
                ConnectionStatus::Connecting,
                ConnectionStatus::Suspend,
            ],
            (Some(_), _) if self.reach() == Reach::Nowhere => match self.opening() {
                true => vec![ConnectionStatus::NetworkUnavailable, ConnectionStatus::Connecting],
                false => vec![ConnectionStatus::NetworkUnavailable],
            },
            (Some(_), Some(_)) => vec![ConnectionStatus::Connecting],
            (Some(_), _) if self.opening() && self.pace.wait.is_some() => {
                vec![ConnectionStatus::Connecting, ConnectionStatus::Suspend]
            }
            (Some(_), _) if self.opening() => vec![ConnectionStatus::Connecting],
            (Some(hold), _) if hold.redirected => {
                vec![ConnectionStatus::Suspend, ConnectionStatus::Connecting]
            }
            (Some(_), _) => vec![ConnectionStatus::Suspend],
        };
        ensure!(
            expected.contains(&got),
            "the status is {} ({}), expected one of {expected:?}",
            got.name(),
            status.reason
        );
        if let Some(hold) = &self.hold {
            ensure!(
                status.network == self.network,
                "the status tells another network state"
            );
            ensure!(
                status.app_key.as_ref() == Some(&hold.app_key) && status.user_id == hold.user,
                "the status tells another account"
            );
        }
        let online = self.link.as_ref().is_some_and(Link::is_online) && self.hold.is_some();
        ensure!(
            (status.offline_sync == OfflineSync::NotConnected) != online,
            "offline_sync is {:?}",
            status.offline_sync
        );
        ensure!(
            status.storage_full == self.storage_full,
            "the status says of the storage: {:?}",
            status.storage_full
        );
        match (status.next_retry, self.pace.wait) {
            (Some(next), Some(Wait { span, cause })) if got == ConnectionStatus::Suspend => ensure!(
                span.from <= next + EDGE && next <= span.to + EDGE,
                "the next attempt is {:?} away, expected {:?} to {:?} ({cause:?})",
                next.since(self.now.boot),
                span.from.since(self.now.boot),
                span.to.since(self.now.boot)
            ),
            (next, _) => ensure!(
                next.is_some() == (got == ConnectionStatus::Suspend),
                "{} with next_retry {next:?}",
                got.name()
            ),
        }
        Ok(())
    }

    pub(crate) fn opening(&self) -> bool {
        self.account()
            .is_some_and(|account| self.database_of(&account) == Some(DatabaseState::Opening))
    }

    pub(crate) fn settle_wake_ups(&self, core: &Core) -> Checked {
        let wake_up = core.poll_timeout();
        if let Some((at, why)) = wake_up {
            ensure!(
                at > self.now.boot,
                "a wake-up for {why:?} lies {:?} in the past",
                self.now.boot.since(at)
            );
        }
        let idle = self.link.is_none() && (self.hold.is_none() || self.reach() == Reach::Nowhere);
        let limits = self.pending().iter().any(|key| {
            let latest = self.latest(key);
            latest.is_some_and(|latest| latest.deadline.is_some())
        });
        match wake_up {
            Some((_, WakeUp::TokenRenewal)) => ensure!(
                self.hold.is_some(),
                "a wake-up for the token of a connection that nobody wants"
            ),
            Some((_, WakeUp::TimeLimit)) => ensure!(limits, "a wake-up for a limit that nobody has"),
            Some((_, why)) if idle => return Err(format!("nothing to do, and a wake-up for {why:?}")),
            None if limits => return Err("a limit with no wake-up".to_owned()),
            Some(_) | None => {}
        }
        Ok(())
    }

    pub(crate) fn settle_instances(&mut self, core: &Core) -> Checked {
        // An instance that never connected is forgotten with its binding; the others are not.
        if let Some(instance) = self.step.unbound.take()
            && let Some(entry) = self.instances.get_mut(&instance)
            && entry.latest.is_none()
        {
            entry.app_key = core.instance(&instance).0.cloned();
        }
        for (instance, entry) in &self.instances {
            let (key, phase) = core.instance(instance);
            let expected = self.phase(instance);
            ensure!(
                phase == expected,
                "{} is {phase:?}, expected {expected:?}",
                instance.0
            );
            ensure!(
                key == entry.app_key.as_ref(),
                "{} has the App Key {key:?}, expected {:?}",
                instance.0,
                entry.app_key
            );
        }
        Ok(())
    }
}
