//! What an app asks for when it connects.

use std::time::Duration;

/// A connect as an app makes it.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) token: String,
    pub(crate) user: Option<&'static str>,
    pub(crate) limit: Option<Duration>,
    pub(crate) id: Option<String>,
    pub(crate) seen: bool,
    pub(crate) resumes: bool,
    pub(crate) app_key: Option<&'static str>,
}

pub(crate) fn with(token: &str) -> Wish {
    Wish {
        token: token.to_owned(),
        user: None,
        limit: None,
        id: None,
        seen: false,
        resumes: false,
        app_key: None,
    }
}

impl Wish {
    pub(crate) fn user(self, user: &'static str) -> Self {
        Self {
            user: Some(user),
            ..self
        }
    }

    pub(crate) fn limit(self, limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    /// The id the client gives its connect; else each has its own.
    pub(crate) fn id(self, id: &str) -> Self {
        Self {
            id: Some(id.to_owned()),
            ..self
        }
    }

    pub(crate) fn database_opened_seen(self) -> Self {
        Self { seen: true, ..self }
    }

    /// The library's own, for a connect that had succeeded.
    pub(crate) fn resumed(self) -> Self {
        Self {
            resumes: true,
            seen: true,
            ..self
        }
    }

    pub(crate) fn one_call(self, app_key: &'static str) -> Self {
        Self {
            app_key: Some(app_key),
            ..self
        }
    }
}
