#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a container image without any registry: programs of this machine with the libraries that they need, as a tar that
`ctr images import` takes.

image.py REF OUT.tar [--program NAME]... [--file SOURCE:PATH]... [--tree SOURCE:PATH]... [--link TARGET:PATH]...
         [--entrypoint WORD]... [--cmd WORD]... [--env KEY=VALUE]... [--workdir PATH]
"""
import argparse
import hashlib
import io
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile

MERGED = ('bin', 'sbin', 'lib', 'lib64')
SEARCH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
ARCHITECTURE = {'x86_64': 'amd64', 'aarch64': 'arm64'}


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument('ref')
    parser.add_argument('out')
    for name in ('program', 'file', 'tree', 'link', 'entrypoint', 'cmd', 'env'):
        parser.add_argument(f'--{name}', action='append', default=[])
    parser.add_argument('--workdir', default='/')
    return parser.parse_args()


def merged(path):
    """/bin/x is /usr/bin/x on a system with merged folders."""
    parts = pathlib.Path(path).parts
    return '/usr' + path if len(parts) > 1 and parts[1] in MERGED else path


def place(root, path):
    target = pathlib.Path(str(root) + merged(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def copy(source, root, path):
    target = place(root, path)
    if not target.exists():
        shutil.copy2(os.path.realpath(source), target)


def libraries(path):
    out = subprocess.run(['ldd', path], text=True, capture_output=True).stdout
    return re.findall(r'(/\S+) \(0x', out)


def copy_with_libraries(source, root, path):
    copy(source, root, path)
    for library in libraries(source):
        copy(library, root, library)


def fill(root, chosen):
    for folder in MERGED:
        (root / 'usr' / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to('usr/' + folder)
    for folder in ('etc', 'tmp', 'proc', 'sys', 'dev', 'run', 'var', 'root'):
        (root / folder).mkdir()
    (root / 'tmp').chmod(0o1777)
    (root / 'etc/passwd').write_text('root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n')
    (root / 'etc/group').write_text('root:x:0:\nnogroup:x:65534:\n')
    (root / 'etc/nsswitch.conf').write_text('passwd: files\ngroup: files\nhosts: files dns\n')
    for name in chosen.program:
        path = shutil.which(name, path=SEARCH)
        if not path:
            raise SystemExit(f'image.py: no program {name} on this machine')
        copy_with_libraries(path, root, path)
    for pair in chosen.file:
        source, path = pair.split(':')
        copy_with_libraries(source, root, path)
    for pair in chosen.tree:
        source, path = pair.split(':')
        shutil.copytree(source, place(root, path), symlinks=True)
    for pair in chosen.link:
        target, path = pair.split(':')
        place(root, path).symlink_to(target)


def owned_by_root(info):
    info.uid = info.gid = 0
    info.uname = info.gname = ''
    return info


def member(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def pack(root, chosen):
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(chosen.out))) as layer:
        with tarfile.open(fileobj=layer, mode='w') as tar:
            tar.add(root, arcname='.', filter=owned_by_root)
        layer.flush()
        layer.seek(0)
        digest = hashlib.file_digest(layer, 'sha256').hexdigest()
        config = json.dumps({
            'architecture': ARCHITECTURE[platform.machine()],
            'os': 'linux',
            'config': {
                'Entrypoint': chosen.entrypoint,
                'Cmd': chosen.cmd,
                'Env': ['PATH=' + SEARCH, *chosen.env],
                'WorkingDir': chosen.workdir,
            },
            'rootfs': {'type': 'layers', 'diff_ids': ['sha256:' + digest]},
        }).encode()
        name = hashlib.sha256(config).hexdigest() + '.json'
        manifest = [{'Config': name, 'RepoTags': [chosen.ref], 'Layers': [digest + '.tar']}]
        with tarfile.open(chosen.out, 'w') as tar:
            member(tar, 'manifest.json', json.dumps(manifest).encode())
            member(tar, name, config)
            tar.add(layer.name, arcname=digest + '.tar', filter=owned_by_root)


def main():
    chosen = options()
    with tempfile.TemporaryDirectory() as scratch:
        # mkdtemp's 0700 would be the root folder's mode in the image: nobody but root could enter it.
        os.chmod(scratch, 0o755)
        fill(pathlib.Path(scratch), chosen)
        pack(pathlib.Path(scratch), chosen)


main()
