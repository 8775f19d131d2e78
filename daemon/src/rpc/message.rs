//! MessageService: sending, and reading what is stored.

use std::sync::Arc;

use imd_core::account::Invalid;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::get_message_request::Id;
use imd_proto::imd::v1::message_service_server::MessageService;
use tonic::{Request, Response, Status};

use super::archive::{Archive, answered};
use super::binding::peer;
use super::pages::Pages;
use super::{arguments, convert};
use crate::clock;

pub(super) struct Messages {
    pub(super) archive: Arc<dyn Archive>,
    pub(super) pages: Pages,
}

#[tonic::async_trait]
impl MessageService for Messages {
    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Result<Response<v1::SendMessageResponse>, Status> {
        let outgoing =
            arguments::outgoing(request.into_inner(), clock::now().unix).map_err(convert::invalid)?;
        tracing::debug!(uid = outgoing.uid, bytes = outgoing.content.len(), "send");
        let (message, already_known) = answered("SendMessage", self.archive.enqueue(outgoing)).await?;
        Ok(Response::new(v1::SendMessageResponse {
            message: Some(convert::message(message)),
            already_known,
        }))
    }

    async fn send_messages(
        &self,
        request: Request<v1::SendMessagesRequest>,
    ) -> Result<Response<v1::SendMessagesResponse>, Status> {
        let checked = arguments::outgoings(request.into_inner().messages, clock::now().unix)
            .map_err(convert::invalid)?;
        let mut legal = Vec::with_capacity(checked.len());
        let places: Vec<_> = checked
            .into_iter()
            .map(|checked| checked.map(|outgoing| legal.push(outgoing)))
            .collect();
        tracing::debug!(messages = places.len(), legal = legal.len(), "send");
        let enqueued = answered("SendMessages", self.archive.enqueue_all(legal)).await?;
        let mut enqueued = enqueued.into_iter();
        let outcomes = places.into_iter().filter_map(|place| match place {
            Ok(()) => enqueued.next().map(Ok),
            Err(invalid) => Some(Err(invalid)),
        });
        let outcomes = outcomes.map(convert::outcome).collect();
        Ok(Response::new(v1::SendMessagesResponse { outcomes }))
    }

    async fn retry_message(
        &self,
        request: Request<v1::RetryMessageRequest>,
    ) -> Result<Response<v1::RetryMessageResponse>, Status> {
        let uid = arguments::uid(&request.into_inner().uid).map_err(convert::invalid)?;
        let message = answered("RetryMessage", self.archive.retry(uid.clone())).await?;
        let message = message.ok_or_else(|| convert::not_found(format!("no message has the uid {uid}")))?;
        Ok(Response::new(v1::RetryMessageResponse {
            message: Some(convert::message(message)),
        }))
    }

    async fn get_message(
        &self,
        request: Request<v1::GetMessageRequest>,
    ) -> Result<Response<v1::GetMessageResponse>, Status> {
        let peer = peer(&request)?;
        let (found, name) = match request.into_inner().id {
            Some(Id::Uid(uid)) => {
                let uid = arguments::uid(&uid).map_err(convert::invalid)?;
                let name = format!("uid {uid}");
                (
                    self.pages
                        .read(&peer, "GetMessage", self.archive.message_by_uid(uid))
                        .await?,
                    name,
                )
            }
            Some(Id::MessageId(message_id)) => (
                self.pages
                    .read(&peer, "GetMessage", self.archive.message_by_id(message_id))
                    .await?,
                format!("id {message_id}"),
            ),
            None => {
                return Err(convert::invalid(Invalid {
                    code: Code::BIZ_ERROR_INVALID_PARAMETER,
                    text: "the call names no message: uid or message_id".to_owned(),
                }));
            }
        };
        let message = found.ok_or_else(|| convert::not_found(format!("no message has the {name}")))?;
        Ok(Response::new(v1::GetMessageResponse {
            message: Some(convert::message(message)),
        }))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Result<Response<v1::ListMessagesResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let key = arguments::conversation(request.conversation).map_err(convert::invalid)?;
        let (before, after) =
            arguments::part(request.before_message_id, request.after_message_id).map_err(convert::invalid)?;
        let limit = arguments::limit(request.limit).map_err(convert::invalid)?;
        let history = self.archive.history(key, before, after, limit);
        let (messages, has_more) = convert::page(self.pages.read(&peer, "ListMessages", history).await?);
        Ok(Response::new(v1::ListMessagesResponse { messages, has_more }))
    }

    async fn search_messages(
        &self,
        request: Request<v1::SearchMessagesRequest>,
    ) -> Result<Response<v1::SearchMessagesResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let query = arguments::query(request.query).map_err(convert::invalid)?;
        let key = match request.conversation {
            None => None,
            key => Some(arguments::conversation(key).map_err(convert::invalid)?),
        };
        let before = arguments::message_id("before_message_id", request.before_message_id)
            .map_err(convert::invalid)?;
        let limit = arguments::limit(request.limit).map_err(convert::invalid)?;
        let search = self.archive.search(query, key, before, limit);
        let page = self.pages.search(&peer, "SearchMessages", search).await?;
        let (messages, has_more) = convert::page(page);
        Ok(Response::new(v1::SearchMessagesResponse { messages, has_more }))
    }

    async fn delete_messages(
        &self,
        request: Request<v1::DeleteMessagesRequest>,
    ) -> Result<Response<v1::DeleteMessagesResponse>, Status> {
        let message_ids = arguments::deleted(request.into_inner().message_ids).map_err(convert::invalid)?;
        let deleted = answered("DeleteMessages", self.archive.delete_messages(message_ids)).await?;
        Ok(Response::new(v1::DeleteMessagesResponse {
            deleted: u32::try_from(deleted).unwrap_or(u32::MAX),
        }))
    }

    async fn list_outbox(
        &self,
        request: Request<v1::ListOutboxRequest>,
    ) -> Result<Response<v1::ListOutboxResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let limit = arguments::limit(request.limit).map_err(convert::invalid)?;
        let after =
            arguments::message_id("after_message_id", request.after_message_id).map_err(convert::invalid)?;
        let outbox = self
            .pages
            .read(&peer, "ListOutbox", self.archive.outbox(after, limit))
            .await?;
        Ok(Response::new(convert::outbox(outbox)))
    }
}
