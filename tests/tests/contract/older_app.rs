//! An app of the oldest contract that is still spoken, with the daemon as it is. It has no generated code:
//! all it knows is the frozen descriptors.

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imd_proto::code::Code;
use imd_proto::status::{Failure, from_status};
use imd_proto::{BINDING_METADATA, PROTOCOL, PROTOCOL_MIN};
use imd_tests::daemon::Daemon;
use imd_tests::scripted::Scripted;
use imd_tests::wait::SOON;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::frozen::{frozen, oldest};
use crate::wire::Dynamic;

const DEADLINE: Duration = Duration::from_secs(20);

/// Speaks a contract of its own.
struct App {
    runtime: Runtime,
    channel: Channel,
    contract: DescriptorPool,
    binding: Option<String>,
}

impl App {
    fn dial(socket: &Path, contract: DescriptorPool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = runtime
            .block_on(Endpoint::from_static("http://localhost").connect_with_connector(connector))
            .unwrap();
        Self {
            runtime,
            channel,
            contract,
            binding: None,
        }
    }

    fn method(&self, name: &str) -> MethodDescriptor {
        let (service, name) = name.split_once('/').unwrap();
        let service = self
            .contract
            .get_service_by_name(&format!("imd.v1.{service}"))
            .unwrap();
        service.methods().find(|method| method.name() == name).unwrap()
    }

    /// A call, with its request in protobuf's text form: the stream of its answers.
    fn stream(&self, name: &str, request: &str) -> Result<Streaming<DynamicMessage>, Failure> {
        let method = self.method(name);
        let message = DynamicMessage::parse_text_format(method.input(), request).unwrap();
        let mut request = Request::new(message);
        if let Some(binding) = &self.binding {
            request
                .metadata_mut()
                .insert(BINDING_METADATA, binding.parse().unwrap());
        }
        let path: PathAndQuery = format!("/imd.v1.{name}").parse().unwrap();
        self.wait(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(Box::new(error)))?;
            // A plain call is a stream of one answer, on the wire.
            grpc.server_streaming(request, path, Dynamic(method.output()))
                .await
        })
        .map(tonic::Response::into_inner)
    }

    fn call(&self, name: &str, request: &str) -> Result<DynamicMessage, Failure> {
        let mut answers = self.stream(name, request)?;
        self.next(&mut answers)
    }

    fn next(&self, answers: &mut Streaming<DynamicMessage>) -> Result<DynamicMessage, Failure> {
        self.wait(answers.message())
            .map(|answer| answer.expect("an answer"))
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, answer).await })
            .expect("an answer in time")
            .map_err(|status| from_status(&status))
    }

    fn bind(&mut self, oldest: u32, newest: u32) -> Result<Streaming<DynamicMessage>, Failure> {
        let hello = format!(
            "app_id: 'org.example.Old' instance_id: 'old-1' protocol_min: {oldest} protocol_max: {newest} \
             capabilities: 'something-nobody-knows'"
        );
        let mut events = self.stream("SessionService/Bind", &hello)?;
        let first = self.next(&mut events)?;
        self.binding = Some(text(&first, "hello.binding_id"));
        assert_eq!(number(&first, "hello.protocol"), i64::from(newest.min(PROTOCOL)));
        Ok(events)
    }
}

/// A field by its way through the message.
fn field(message: &DynamicMessage, way: &str) -> prost_reflect::Value {
    let (first, rest) = way
        .split_once('.')
        .map_or((way, None), |(first, rest)| (first, Some(rest)));
    let value = message
        .get_field_by_name(first)
        .unwrap_or_else(|| panic!("{first} is no field of {}", message.descriptor_name()))
        .into_owned();
    match (rest, value.as_message()) {
        (Some(rest), Some(inner)) => field(inner, rest),
        (Some(_), None) => panic!("{first} is no message"),
        (None, _) => value,
    }
}

trait Named {
    fn descriptor_name(&self) -> String;
}

impl Named for DynamicMessage {
    fn descriptor_name(&self) -> String {
        prost_reflect::ReflectMessage::descriptor(self)
            .full_name()
            .to_owned()
    }
}

fn text(message: &DynamicMessage, way: &str) -> String {
    field(message, way).as_str().expect("a text").to_owned()
}

fn number(message: &DynamicMessage, way: &str) -> i64 {
    let value = field(message, way);
    value
        .as_i32()
        .map(i64::from)
        .or_else(|| value.as_u32().map(i64::from))
        .or_else(|| value.as_i64())
        .expect("a number")
}

fn has(message: &DynamicMessage, name: &str) -> bool {
    message.has_field_by_name(name)
}

#[test]
fn an_app_of_every_contract_still_spoken_does_all_it_ever_did() {
    for (protocol, contract) in frozen() {
        if protocol < PROTOCOL_MIN {
            continue;
        }
        let broker = Scripted::start();
        let daemon = Daemon::for_server(&broker.url());
        let mut app = App::dial(&daemon.home().socket(), contract);
        let mut events = app.bind(protocol, protocol).unwrap();
        app.call("SessionService/Init", "app_key: 'demo'").unwrap();

        let connect = "token: 'opaque' user_id: 'alice' connect_id: 'c-1' time_limit_seconds: 20";
        let mut callbacks = app.stream("SessionService/Connect", connect).unwrap();
        assert!(has(&app.next(&mut callbacks).unwrap(), "database_opened"));
        assert_eq!(
            text(&app.next(&mut callbacks).unwrap(), "success.user_id"),
            "alice"
        );
        let mut last = app.next(&mut events).unwrap();
        while number(&last, "status.status") != 0 {
            last = app.next(&mut events).unwrap();
        }

        let mut log = app.stream("EventService/Subscribe", "name: 'main'").unwrap();
        assert!(has(&app.next(&mut log).unwrap(), "started"));
        let conversation = "conversation { type: CONVERSATION_TYPE_PRIVATE target_id: 'bob' }";
        let message = format!("{conversation} object_name: 'RC:TxtMsg' content: '{{\"content\":\"hi\"}}'");
        let sent = app.call("MessageService/SendMessage", &message).unwrap();
        let uid = text(&sent, "message.uid");
        let page = app.next(&mut log).unwrap();
        assert!(has(&page, "events"));
        let mut states = 0;
        while states == 0 {
            let page = app.next(&mut log).unwrap();
            let list = field(&page, "events.events");
            states = list
                .as_list()
                .unwrap()
                .iter()
                .filter_map(|event| event.as_message())
                .filter(|event| has(event, "message_state"))
                .filter(|event| number(event, "message_state.sent_status") >= 30)
                .count();
        }
        let history = app.call("MessageService/ListMessages", conversation).unwrap();
        let messages = field(&history, "messages");
        let first = messages.as_list().unwrap()[0].as_message().unwrap().clone();
        assert_eq!(text(&first, "uid"), uid);
        app.call("SessionService/Disconnect", "").unwrap();
    }
}

#[test]
fn without_a_common_protocol_the_text_says_which_side_to_upgrade() {
    let daemon = Daemon::configured("[server]\nurls = [\"mqtt://127.0.0.1:9\"]\n");
    let mut app = App::dial(&daemon.home().socket(), oldest());
    for (range, mend) in [
        ((PROTOCOL + 1, PROTOCOL + 2), "upgrade imd"),
        ((0, PROTOCOL_MIN - 1), "upgrade the app"),
    ] {
        let refused = app.bind(range.0, range.1).err().unwrap();
        assert_eq!(refused.code, Code::IMD_VERSION_SKEW);
        assert!(refused.text.contains(mend), "{refused:?}");
    }
}

#[test]
fn the_calls_that_never_change_answer_an_app_of_any_version() {
    let mut daemon = Daemon::configured("[server]\nurls = [\"mqtt://127.0.0.1:9\"]\n");
    let mut app = App::dial(&daemon.home().socket(), oldest());
    app.bind(PROTOCOL + 7, PROTOCOL + 9).err().unwrap();
    let version = app.call("AdminService/GetVersion", "").unwrap();
    assert_eq!(number(&version, "protocol_min"), i64::from(PROTOCOL_MIN));
    assert_eq!(number(&version, "protocol_max"), i64::from(PROTOCOL));
    let status = app.call("SessionService/GetStatus", "").unwrap();
    assert_eq!(text(&status, "status.status_name"), "UNCONNECTED");
    let mut health = tonic_health::pb::health_client::HealthClient::new(app.channel.clone());
    let check = tonic_health::pb::HealthCheckRequest::default();
    let serving = app.wait(health.check(check)).unwrap().into_inner();
    assert_eq!(serving.status, 1);
    app.call("AdminService/Shutdown", "reason: 'a test'").unwrap();
    assert!(daemon.process().wait(SOON).success());
}

#[test]
fn a_call_that_the_daemon_does_not_know_is_version_skew_and_harms_nothing() {
    let daemon = Daemon::configured("[server]\nurls = [\"mqtt://127.0.0.1:9\"]\n");
    let app = App::dial(&daemon.home().socket(), oldest());
    let refused = app.wait(async {
        let mut grpc = Grpc::new(app.channel.clone());
        grpc.ready()
            .await
            .map_err(|error| Status::from_error(Box::new(error)))?;
        let method = app.method("SessionService/GetStatus");
        let request = Request::new(DynamicMessage::new(method.input()));
        let path = PathAndQuery::from_static("/imd.v1.SessionService/DoWhatNobodyKnows");
        grpc.unary(request, path, Dynamic(method.output())).await
    });
    let refused = refused.err().unwrap();
    assert_eq!(refused.code, Code::IMD_VERSION_SKEW);
    assert!(refused.text.contains("Upgrade imd"), "{refused:?}");
    app.call("SessionService/GetStatus", "").unwrap();
}
