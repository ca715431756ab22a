"""Run in a network namespace of its own (see test_pacs.py): a real Orthanc reached by TLS only, by known clients only.

DIMSE over TLS is Orthanc's own. HTTPS is ended before it, as in most hospitals: Debian's Orthanc 1.10 crashes at the
first HTTPS request.

usage: orthanc_tls.py SERIES MODEL WORK
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pydicom

from medseg.cli.main import main

REST, HTTPS, DIMSE = "http://127.0.0.1:18042", "https://localhost:18443", "ORTHANC@localhost:14243"
ROUTES = {"dicomweb": ["--dicomweb", f"{HTTPS}/dicom-web"], "dimse": ["--dimse", DIMSE]}


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """Two authorities; a server and a client certificate by the first."""
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for authority in ("ca", "stranger"):
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{authority}.key", "-out",
                f"{authority}.pem", "-days", "2", "-subj", f"/CN={authority}")  # fmt: skip
    for name in ("server", "client"):
        openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")  # fmt: skip
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.crt", "-days", "2", "-extfile", "names")  # fmt: skip
        (folder / f"{name}.pem").write_text((folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text())


def configuration(folder: Path) -> dict[str, object]:
    """No modality is known, so C-MOVE is impossible."""
    return {
        "Name": "medseg-test", "StorageDirectory": f"{folder}/db", "IndexDirectory": f"{folder}/db",
        "HttpPort": 18042, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "DicomServerEnabled": True, "DicomPort": 14243, "DicomAet": "ORTHANC", "DicomCheckCalledAet": False,
        "DicomTlsEnabled": True, "DicomTlsCertificate": f"{folder}/server.crt",
        "DicomTlsPrivateKey": f"{folder}/server.key", "DicomTlsTrustedCertificates": f"{folder}/ca.pem",
        "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True, "DicomModalities": {}, "UnknownSopClassAccepted": True,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip


def end_tls(folder: Path) -> None:
    """Hand on what clients send that a certificate of the authority proves."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(str(folder / "server.pem"))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), ExitStack() as opened:
            client = opened.enter_context(context.wrap_socket(connection, server_side=True))
            inner = opened.enter_context(socket.create_connection(("127.0.0.1", 18042)))
            back = threading.Thread(target=copy, args=(inner, client), daemon=True)
            back.start()
            copy(client, inner)
            back.join()

    listening = socket.create_server(("127.0.0.1", 18443))
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


def rest(path: str, data: bytes | None = None, method: str | None = None) -> bytes:
    request = urllib.request.Request(f"{REST}{path}", data=data, method=method)
    with urllib.request.urlopen(request) as answer:
        return bytes(answer.read())


def stored() -> list[str]:
    """Orthanc's ids of segmentations."""
    names = json.loads(rest("/instances"))
    return [name for name in names if b'"SEG"' in rest(f"/instances/{name}/simplified-tags")]


def attempts(folder: Path, words: list[str], out: Path) -> dict[str, object]:
    """Exit codes with the right certificates, and with each one wrong."""
    ca, cert = ["--ca", str(folder / "ca.pem")], ["--cert", str(folder / "client.pem")]
    codes = {
        "no certificate of one's own": main([*words, "--out", str(out / "a"), *ca]),
        "an authority that did not sign": main(
            [*words, "--out", str(out / "b"), "--ca", str(folder / "stranger.pem"), *cert]
        ),
        "no authority": main([*words, "--out", str(out / "c"), *cert]),
    }
    n_before = len(stored())
    os.environ["REQUESTS_CA_BUNDLE"] = str(folder / "stranger.pem")
    right = main([*words, "--out", str(out / "d"), *ca, *cert])
    del os.environ["REQUESTS_CA_BUNDLE"]
    segmentations = stored()
    for name in segmentations:
        rest(f"/instances/{name}", method="DELETE")
    return {"wrong": codes, "n_before": n_before, "right": right, "stored": len(segmentations)}


def wait_for_orthanc() -> None:
    for _ in range(300):
        try:
            rest("/system")
        except OSError:
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    series, model, work = map(Path, sys.argv[1:])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    home = work / "orthanc"
    certificates(home)
    (home / "db").mkdir()
    (home / "orthanc.json").write_text(json.dumps(configuration(home)))
    program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin") or "Orthanc"
    with (home / "log").open("wb") as log:
        server = subprocess.Popen([program, str(home / "orthanc.json")], stdout=log, stderr=log)
    try:
        wait_for_orthanc()
        threading.Thread(target=end_tls, args=(home,), daemon=True).start()
        for file in sorted(series.glob("*.dcm")):
            rest("/instances", file.read_bytes())
        uid = str(pydicom.dcmread(next(series.glob("*.dcm"))).StudyInstanceUID)
        found = {}
        for route, words in ROUTES.items():
            asked = ["pacs", *words, "--study", uid, "--modality", "MR", "--model", str(model), "--device", "cpu"]
            found[route] = attempts(home, [*asked, "--tls"] if route == "dimse" else asked, work / route)
        print(json.dumps(found))
    finally:
        server.terminate()
        server.wait()
