//! The frozen contract, and what it forbids. `buf breaking` in the gate asks for more; this needs no tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use imd_proto::{PROTOCOL, PROTOCOL_MIN};
use imd_tests::sources::root;
use prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
};

/// The methods whose form never changes, so that any client can ask any daemon.
const ALWAYS: [&str; 5] = [
    "imd.v1.AdminService.GetVersion",
    "imd.v1.AdminService.Shutdown",
    "imd.v1.SessionService.GetStatus",
    "grpc.health.v1.Health.Check",
    "grpc.health.v1.Health.Watch",
];

fn directory() -> PathBuf {
    root().join("proto/contract")
}

/// Whether the frozen files that are missing are to be written.
fn is_freezing() -> bool {
    std::env::var_os("IMD_UPDATE").is_some_and(|value| value == "1")
}

/// The files of our own packages, without their comments, and what they import.
fn current_set() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(imd_proto::DESCRIPTORS).unwrap();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

fn current() -> DescriptorPool {
    DescriptorPool::from_file_descriptor_set(current_set()).unwrap()
}

/// The frozen contract of each protocol that this build speaks, by its number.
pub(crate) fn frozen() -> BTreeMap<u32, DescriptorPool> {
    let mut images = BTreeMap::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((_, protocol)) = name
            .strip_suffix(".txtpb")
            .and_then(|name| name.rsplit_once("-protocol-"))
        else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let set =
            DynamicMessage::parse_text_format(FileDescriptorSet::default().descriptor(), &text).unwrap();
        let set: FileDescriptorSet = set.transcode_to().unwrap();
        let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
        assert!(images.insert(protocol.parse().unwrap(), pool).is_none(), "{name}");
    }
    images
}

/// The oldest contract that this build still speaks.
pub(crate) fn oldest() -> DescriptorPool {
    frozen()
        .remove(&PROTOCOL_MIN)
        .expect("the oldest protocol is frozen")
}

#[test]
fn every_protocol_this_build_speaks_is_frozen() {
    let frozen: BTreeSet<_> = frozen().into_keys().collect();
    for protocol in (PROTOCOL_MIN..=PROTOCOL).filter(|protocol| !frozen.contains(protocol)) {
        let version = env!("CARGO_PKG_VERSION").rsplit_once('.').unwrap().0;
        let path = directory().join(format!("imd-{version}-protocol-{protocol}.txtpb"));
        assert!(
            protocol == PROTOCOL && is_freezing(),
            "protocol {protocol} is not frozen. When it is released, write {} with:\n    \
             IMD_UPDATE=1 cargo test -p imd-tests --test contract\nand never touch it again",
            path.display()
        );
        let format = FormatOptions::new().pretty(true);
        let text = current_set()
            .transcode_to_dynamic()
            .to_text_format_with_options(&format);
        fs::write(path, text + "\n").unwrap();
    }
}

#[test]
fn nothing_that_was_frozen_is_gone_or_means_something_else() {
    let now = current();
    let mut broken = Vec::new();
    for (protocol, then) in frozen() {
        for message in then.all_messages() {
            let name = message.full_name();
            match now.get_message_by_name(name) {
                Some(today) => fields(protocol, &message, &today, &mut broken),
                None => broken.push(format!("protocol {protocol}: the message {name} is gone")),
            }
        }
        for values in then.all_enums() {
            let name = values.full_name();
            let today = now.get_enum_by_name(name);
            for value in values.values() {
                let same = today
                    .as_ref()
                    .and_then(|today| today.get_value(value.number()))
                    .is_some_and(|today| today.name() == value.name());
                if !same {
                    broken.push(format!("protocol {protocol}: {} of {name} is gone", value.name()));
                }
            }
        }
        for method in then
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            let (service, name) = (method.parent_service().full_name(), method.name());
            let same = now
                .get_service_by_name(service)
                .and_then(|service| service.methods().find(|today| today.name() == name))
                .is_some_and(|today| signature(&today) == signature(&method));
            if !same {
                broken.push(format!(
                    "protocol {protocol}: {service}/{name} is gone or another"
                ));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn fields(protocol: u32, then: &MessageDescriptor, now: &MessageDescriptor, broken: &mut Vec<String>) {
    for field in then.fields() {
        let same = now
            .get_field(field.number())
            .is_some_and(|today| line(&today) == line(&field));
        if !same {
            let name = then.full_name();
            broken.push(format!(
                "protocol {protocol}: {name}: {} is gone or another",
                line(&field)
            ));
        }
    }
}

#[test]
fn what_never_changes_has_not_changed() {
    let path = directory().join("always.txt");
    let mut pool = current();
    pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .unwrap();
    let now = always(&pool);
    if is_freezing() && !path.exists() {
        fs::write(&path, &now).unwrap();
    }
    let then = fs::read_to_string(&path).unwrap();
    assert!(
        now == then,
        "the form of these calls never changes, not even by a field: a client of any version asks a daemon of \
         any version. Take back what was changed in them.\nfrozen:\n{then}\nnow:\n{now}"
    );
}

/// The methods, and every message and enum they reach, one line each.
fn always(pool: &DescriptorPool) -> String {
    let mut text = String::new();
    let mut waiting = Vec::new();
    for name in ALWAYS {
        let (service, name) = name.rsplit_once('.').unwrap();
        let service = pool.get_service_by_name(service).unwrap();
        let method = service.methods().find(|method| method.name() == name).unwrap();
        writeln!(text, "rpc {}/{name} {}", service.full_name(), signature(&method)).unwrap();
        waiting.extend([Kind::Message(method.input()), Kind::Message(method.output())]);
    }
    let mut told = BTreeMap::new();
    while let Some(kind) = waiting.pop() {
        let name = kind_text(&kind);
        if told.contains_key(&name) {
            continue;
        }
        let lines: Vec<_> = if let Some(message) = kind.as_message() {
            waiting.extend(message.fields().map(|field| field.kind()));
            message.fields().map(|field| line(&field)).collect()
        } else if let Some(values) = kind.as_enum() {
            let values = values.values();
            values
                .map(|value| format!("{} = {}", value.name(), value.number()))
                .collect()
        } else {
            continue;
        };
        told.insert(name, lines);
    }
    for (name, lines) in told {
        writeln!(text, "{name}").unwrap();
        for line in lines {
            writeln!(text, "    {line}").unwrap();
        }
    }
    text
}

/// A field as far as it matters on the wire and in a generated program.
fn line(field: &FieldDescriptor) -> String {
    let repeated = if field.is_list() { "repeated " } else { "" };
    let kind = field.kind();
    let one_of = field
        .containing_oneof()
        .map(|one_of| format!(" in {}", one_of.name()))
        .unwrap_or_default();
    format!(
        "{repeated}{} {} = {}{one_of}",
        kind_text(&kind),
        field.name(),
        field.number()
    )
}

fn kind_text(kind: &Kind) -> String {
    match (kind.as_message(), kind.as_enum()) {
        (Some(message), _) => message.full_name().to_owned(),
        (_, Some(values)) => values.full_name().to_owned(),
        (None, None) => format!("{kind:?}").to_lowercase(),
    }
}

fn signature(method: &prost_reflect::MethodDescriptor) -> String {
    let stream = |is: bool| if is { "stream " } else { "" };
    format!(
        "({}{}) returns ({}{})",
        stream(method.is_client_streaming()),
        method.input().full_name(),
        stream(method.is_server_streaming()),
        method.output().full_name()
    )
}
