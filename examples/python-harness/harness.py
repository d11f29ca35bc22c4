#!/usr/bin/env python3
"""A harness in Python's standard library, speaking only public contracts.

Wakes come over the NATS protocol (proto/asyncapi.yaml), the log is read and written by the session contract as JSON over
the gateway's HTTP, the model is asked through vault-proxy with a session token. It answers messages without tools.

The rules of every harness: take the session by `brain.woken` with the next epoch; name `expected_position` and the epoch in
every append; on a conflict read again and decide again; hold the wake by beats until the turn is over.

  MH_NATS_URL  MH_GATEWAY_URL  MH_API_KEY (a key with "harness": true)  MH_MODEL_PROXY_URL  MH_HARNESS_KIND
"""
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

KIND = os.environ.get("MH_HARNESS_KIND", "python")
GATEWAY = os.environ["MH_GATEWAY_URL"].rstrip("/")
MODEL = os.environ["MH_MODEL_PROXY_URL"].rstrip("/")
ACK_WAIT_S = 2.0


class Conflict(Exception):
    """Somebody else wrote first, or holds the session."""


def post(url, body, key):
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={
            "content-type": "application/json",
            "authorization": f"Bearer {key}",
            "anthropic-version": "2023-06-01",
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        if error.code == 409:
            raise Conflict(text) from error
        raise RuntimeError(f"{url}: {error.code} {text}") from error


def call(method, body):
    return post(f"{GATEWAY}/x/rpc/{method}", body, os.environ["MH_API_KEY"])


class Nats:
    """As much of the NATS client protocol as pulling wakes needs."""

    def __init__(self, url):
        parsed = urllib.parse.urlparse(url)
        self.socket = socket.create_connection((parsed.hostname, parsed.port or 4222))
        self.reader = self.socket.makefile("rb")
        self.lock = threading.Lock()
        self.inbox = f"_INBOX.{uuid.uuid4().hex}"
        self.reader.readline()  # INFO
        options = {"verbose": False, "headers": True, "no_responders": True, "lang": "python", "version": "1"}
        self.send(f"CONNECT {json.dumps(options)}\r\nSUB {self.inbox} 1\r\nPING\r\n")

    def send(self, text):
        with self.lock:
            self.socket.sendall(text.encode())

    def publish(self, subject, payload="", reply=""):
        size = len(payload.encode())
        self.send(f"PUB {subject} {reply + ' ' if reply else ''}{size}\r\n{payload}\r\n")

    def next(self):
        """The next message: subject, reply subject, headers."""
        while True:
            line = self.reader.readline().decode().strip()
            if line == "":
                raise ConnectionError("nats-server went away")
            if line == "PING":
                self.send("PONG\r\n")
            words = line.split(" ")
            if words[0] == "MSG":
                self.reader.read(int(words[-1]) + 2)
                return words[1], words[3] if len(words) == 5 else "", ""
            if words[0] == "HMSG":
                text = self.reader.read(int(words[-1]) + 2)[: int(words[-2])].decode()
                return words[1], words[3] if len(words) == 6 else "", text

    def request(self, subject, payload=""):
        self.publish(subject, payload, self.inbox)
        return self.next()


def consumer(nats):
    """The durable consumer of this kind, made like every harness makes it."""
    name = f"wake-{KIND}"
    config = {
        "durable_name": name,
        "filter_subject": f"mh.wake.{KIND}.*",
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": int(ACK_WAIT_S * 1e9),
        "max_deliver": -1,
        "max_ack_pending": 10000,
    }
    body = json.dumps({"stream_name": "MH_WAKE", "config": config})
    nats.request(f"$JS.API.CONSUMER.DURABLE.CREATE.MH_WAKE.{name}", body)
    return name


def beat(nats, reply, stopped):
    while not stopped.wait(ACK_WAIT_S / 3):
        nats.publish(reply, "+WPI")


def read_log(session):
    events, page = [], ""
    while True:
        body = {"sessionId": session, "includePlatform": True, "pageSize": 1000, "pageToken": page}
        answer = call("SessionService/GetEvents", body)
        events += answer.get("events", [])
        page = answer.get("nextPageToken", "")
        if page == "":
            return events


def append(session, head, epoch, events):
    body = {"sessionId": session, "events": events, "expectedPosition": str(head), "epoch": str(epoch)}
    return int(call("SessionService/EmitEvents", {**body, "requestId": str(uuid.uuid4())})["headPosition"])


def words(event, field):
    return "".join(block.get("text", {}).get("text", "") for block in event.get(field, {}).get("content", []))


def conversation(events):
    """The log as turns of the Messages API; turns of one role are joined."""
    turns = []
    for event in events:
        role = {"user.message": "user", "agent.message": "assistant"}.get(event["type"])
        if role is None:
            continue
        text = words(event, "userMessage" if role == "user" else "agentMessage")
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n" + text
        else:
            turns.append({"role": role, "content": text})
    return turns


def ask(session, turns):
    token = call("VaultService/MintSessionToken", {"sessionId": session, "audiences": ["AUDIENCE_MODEL"]})["token"]
    body = {"model": os.environ.get("MH_MODEL", "demo-1"), "max_tokens": 1024, "messages": turns}
    return post(f"{MODEL}/v1/messages", body, token)


def failed(start):
    return {"modelRequestStartId": start, "isError": True, "modelUsage": {}}


def drive(session):
    """One turn. Called again for every wake, also after a crash in the middle: the log says where it stood."""
    events = read_log(session)
    said = max((n for n, event in enumerate(events) if event["type"] == "user.message"), default=-1)
    done = max((n for n, event in enumerate(events) if event["type"] == "session.status_idle"), default=-1)
    kind = next((e["sessionHarnessChanged"]["toKind"] for e in reversed(events) if "sessionHarnessChanged" in e), KIND)
    if said <= done or kind != KIND:
        return
    head = len(events)
    epoch = max(int(event.get("epoch", 0)) for event in events) + 1
    start = f"sevt_{uuid.uuid4().hex}"
    woken = {"epoch": str(epoch), "harnessKind": KIND, "harnessVersion": "1.0.0", "instanceId": f"python-{os.getpid()}"}
    asked = {"model": os.environ.get("MH_MODEL", "demo-1"), "contextPosition": str(head), "attempt": 1}
    closed = {event["spanModelRequestEnd"]["modelRequestStartId"] for event in events if "spanModelRequestEnd" in event}
    dead = [event["id"] for event in events if "spanModelRequestStart" in event and event["id"] not in closed]
    opened = [
        {"type": "brain.woken", "brainWoken": woken},
        *({"type": "span.model_request_end", "spanModelRequestEnd": failed(one)} for one in dead),
        {"type": "session.status_running", "sessionStatusRunning": {}},
        {"id": start, "type": "span.model_request_start", "spanModelRequestStart": asked},
    ]
    head = append(session, head, epoch, opened)
    try:
        answer = ask(session, conversation(events))
    except (RuntimeError, OSError) as error:
        problem = {"type": "model_request_failed_error", "message": str(error)[:500]}
        append(session, head, epoch, [
            {"type": "span.model_request_end", "spanModelRequestEnd": failed(start)},
            {"type": "session.error", "sessionError": {"error": {**problem, "retryStatus": {"type": "exhausted"}}}},
            {"type": "session.usage", "sessionUsage": {"usage": {}}},
            {"type": "session.status_idle", "sessionStatusIdle": {"stopReason": {"type": "retries_exhausted"}}},
        ])
        return
    text = "".join(block.get("text", "") for block in answer["content"])
    usage = {key: str(value) for key, value in answer["usage"].items() if key.endswith("_tokens")}
    ended = {"modelRequestStartId": start, "isError": False, "modelUsage": usage, "stopReason": answer["stop_reason"]}
    append(session, head, epoch, [
        {"type": "agent.message", "agentMessage": {"content": [{"text": {"text": text}}]}},
        {"type": "span.model_request_end", "spanModelRequestEnd": ended},
        {"type": "session.usage", "sessionUsage": {"usage": usage}},
        {"type": "session.status_idle", "sessionStatusIdle": {"stopReason": {"type": "end_turn"}}},
    ])


def main():
    nats = Nats(os.environ["MH_NATS_URL"])
    name = consumer(nats)
    print("ready", flush=True)
    while True:
        order = json.dumps({"batch": 1, "expires": int(30e9)})
        subject, reply, headers = nats.request(f"$JS.API.CONSUMER.MSG.NEXT.MH_WAKE.{name}", order)
        if not subject.startswith("mh.wake."):
            continue  # nothing came within the time
        stopped = threading.Event()
        threading.Thread(target=beat, args=(nats, reply, stopped), daemon=True).start()
        try:
            drive(subject.split(".")[3])
            outcome = "+ACK"
        except Conflict:
            outcome = "-NAK"  # something was written meanwhile: look again
        except Exception as error:  # noqa: BLE001 — one bad session must not stop the others
            print(f"{subject}: {error}", flush=True)
            time.sleep(0.2)
            outcome = "-NAK"
        stopped.set()
        nats.publish(reply, outcome)


if __name__ == "__main__":
    main()
