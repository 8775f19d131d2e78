//! The apps, as the client library lets them behave.

use std::time::Duration;

use imd_core::io::{CallId, Callback, ConnectId, ConnectKey, ConnectRequest, Input, Request, TokenUpdate};

use imd_core::time::BootTime;

use crate::checks::{Checked, ensure};
use crate::transition::{APPS, App, Key, Secret, Wish};
use crate::world::{AppConnect, World, instance, requester};

impl World {
    pub(crate) fn call(&mut self, request: Request) -> Checked {
        self.calls += 1;
        let call = CallId(self.calls);
        self.input(Input::Call { call, request })
    }

    pub(crate) fn init(&mut self, app: App, key: Key) -> Checked {
        let app_key = key.parse()?;
        let instance = instance(app);
        self.call(Request::Init { instance, app_key })?;
        let took = self
            .core
            .instance(&self::instance(app))
            .0
            .map(|key| key.as_str().to_owned());
        let side = &mut self.apps[app.0];
        if took.as_deref() == Some(key.text()) {
            side.key = Some(key);
            side.unbound = false;
        }
        Ok(())
    }

    /// The library inits again by itself after its binding has ended.
    pub(crate) fn rebind(&mut self, app: App) -> Checked {
        match self.apps[app.0].key {
            Some(key) if self.apps[app.0].unbound => self.init(app, key),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn connect(&mut self, wish: Wish) -> Checked {
        self.rebind(wish.app)?;
        // Limits that have passed are told before, not in one breath with the answer.
        let passed = |deadline: BootTime| deadline <= self.now.boot;
        let mut waiting = self.apps.iter().filter_map(|side| side.connect.as_ref());
        if waiting.any(|connect| !connect.done && connect.deadline.is_some_and(passed)) {
            self.input(Input::Timeout)?;
        }
        if self.crashed {
            return Ok(());
        }
        self.connects += 1;
        let limit = u64::try_from(wish.limit).ok().filter(|limit| *limit > 0);
        let connect = AppConnect {
            id: ConnectId(format!("c{}", self.connects).into()),
            wish,
            deadline: limit.map(|limit| self.now.boot + Duration::from_secs(limit)),
            opened: false,
            done: false,
            replay: false,
            succeeded: false,
            resumes: false,
        };
        self.issue(connect)
    }

    pub(crate) fn update_token(&mut self, app: App, secret: Secret, bound: bool) -> Checked {
        let update = TokenUpdate {
            instance: bound.then(|| instance(app)),
            app_key: (!bound).then(|| Key::Demo.parse()).transpose()?,
            token: secret.token()?,
            by: requester(app),
        };
        self.call(Request::UpdateToken(update))
    }

    pub(crate) fn issue(&mut self, connect: AppConnect) -> Checked {
        let app = connect.wish.app;
        let request = ConnectRequest {
            key: ConnectKey {
                instance: instance(app),
                connect: connect.id.clone(),
            },
            app: requester(app),
            app_key: connect.wish.one_call.map(Key::parse).transpose()?,
            token: connect.wish.secret.token()?,
            user_id: connect.wish.user.map(|user| user.parse()).transpose()?,
            time_limit: connect.deadline.map(|deadline| deadline.since(self.now.boot)),
            database_opened_seen: connect.opened,
            resumes: connect.resumes,
        };
        self.apps[app.0].asked = Some(connect);
        self.call(Request::Connect(request))
    }

    pub(crate) fn reissue(&mut self, app: App, honest: bool) -> Checked {
        self.rebind(app)?;
        if self.crashed {
            return Ok(());
        }
        let Some(mut connect) = self.apps[app.0].connect.clone() else {
            return Ok(());
        };
        // A limit that has passed meanwhile is the library's own matter.
        let passed = connect.deadline.is_some_and(|deadline| deadline <= self.now.boot);
        if !connect.done && passed {
            return Ok(());
        }
        connect.replay = connect.done;
        connect.resumes = connect.succeeded && honest;
        // The limit was for the success.
        connect.deadline = connect.deadline.filter(|_| !connect.succeeded);
        connect.opened &= honest;
        self.issue(connect)
    }

    /// What an app hears over all its daemons: one terminal callback, and onDatabaseOpened once before it.
    pub(crate) fn callback(&mut self, key: &ConnectKey, callback: &Callback) -> Checked {
        let side = (0..APPS).find(|app| instance(App(*app)) == key.instance);
        let connect = side
            .and_then(|app| self.apps[app].connect.as_mut())
            .filter(|connect| connect.id == key.connect);
        let Some(connect) = connect else {
            return Err(format!(
                "{}/{} hears of a connect it does not know",
                key.instance.0, key.connect.0
            ));
        };
        match callback {
            Callback::DatabaseOpened(_) => {
                ensure!(
                    !connect.opened && (!connect.done || connect.replay),
                    "{} hears onDatabaseOpened once too often",
                    key.instance.0
                );
                connect.opened = true;
            }
            Callback::Success(_) | Callback::Error(_) => {
                ensure!(
                    !connect.done || connect.replay,
                    "{} hears a second terminal callback",
                    key.instance.0
                );
                connect.done = true;
                connect.succeeded = matches!(callback, Callback::Success(_));
                connect.replay = false;
            }
        }
        Ok(())
    }
}
