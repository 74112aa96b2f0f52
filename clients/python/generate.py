"""Generates the committed code: python generate.py <contract> <folder>."""

import pathlib
import subprocess
import sys

from google.protobuf import descriptor_pb2


def main(contract: str, folder: str) -> None:
    for old in pathlib.Path(folder, "lucky").rglob("*_pb2*.py*"):
        if "__pycache__" not in old.parts:
            old.unlink()
    files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(contract).read_bytes()).file
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={contract}"]
    outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
    subprocess.run([*protoc, *outputs, *(file.name for file in files)], check=True)
    services = [file.name for file in files if file.service]
    subprocess.run([*protoc, f"--grpc_python_out={folder}", *services], check=True)


main(*sys.argv[1:])
