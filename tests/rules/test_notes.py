"""Signed notes: one spelling each, and nothing but the signed bytes passes for signed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from contextlib import suppress
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from forge_core.errors import ForgeError
from forge_core.ledger.notes import (
    MOST_SECONDS,
    MOST_SIGNATURES,
    KeyKind,
    Note,
    NoteInvalid,
    Signature,
    SigningKey,
    VerifierKey,
    sign_note,
)
from forge_core.ledger.statements import (
    MOST_LEAVES,
    Checkpoint,
    Promise,
    cosign,
    open_checkpoint,
    open_promise,
    sign_checkpoint,
    sign_promise,
)

# Published with Go's golang.org/x/mod/sumdb/note, which made the signature.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_SECRET = GO_SKEY.split("+", 4)[4]
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM="
)
# The example of c2sp.org/tlog-cosignature.
SPEC_COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URY"
    "N7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dl"
    "rDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)

NOW = 1_700_000_000
LOG = SigningKey.generate("log")
ROTATED = SigningKey.generate("log")
PROMISES = SigningKey.generate("log/promises")
WITNESS = SigningKey.generate("witness.example", KeyKind.COSIGNATURE)
CHECKPOINT = Checkpoint("log", 7, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
PROMISE = Promise(
    "log",
    bytes(range(32)),
    "did:example:alice/0198c0de-0000-7000-8000-000000000001",
    "2026-01-31T23:59:59.000001Z",
    "2026-02-01T00:00:59.000001Z",
)
PROMISE_NOTE = sign_promise(PROMISE, PROMISES)


def recoded(line: str, change) -> str:
    """The signature line with its bytes (key id and signature) changed."""
    dash, name, encoded = line.split(" ")
    return f"{dash} {name} {b64encode(change(b64decode(encoded))).decode()}"


def corrupted(line: str) -> str:
    return recoded(line, lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]))


def noted(*lines: str, text: str = CHECKPOINT.to_text()) -> Note:
    return Note.parse(f"{text}\n" + "".join(f"{line}\n" for line in lines))


# Keys


def test_the_known_signature_verifies():
    key = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    line = (
        "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3"
        "mFXmRKuwHjG1Yu72IneyaQM="
    )
    assert noted(line, text="This is an example message.\n").signed_by(key)
    with pytest.raises(NoteInvalid, match="does not verify"):
        noted(line, text="This is an example message!\n").signed_by(key)


def test_a_key_of_go_signs_byte_for_byte_as_in_go():
    key = SigningKey.parse(GO_SKEY)
    assert key.to_text() == GO_SKEY
    assert key.name == "PeterNeumann"
    assert key.verifier == VerifierKey.parse(GO_VKEY)
    assert key.verifier.to_text() == GO_VKEY
    assert key.verifier.key_id.hex() == "c74f20a3"
    assert key.sign(GO_TEXT) == GO_LINE
    assert sign_note(GO_TEXT, key).to_text() == f"{GO_TEXT}\n{GO_LINE}\n"


@pytest.mark.parametrize("kind", KeyKind)
def test_keys_survive_being_written(kind):
    key = SigningKey.generate("example.com/log", kind)
    assert SigningKey.parse(key.to_text().encode()) == key
    assert VerifierKey.parse(key.verifier.to_text().encode()) == key.verifier
    assert key.verifier.kind is kind


@pytest.mark.parametrize(
    ("parse", "text"), [(SigningKey.parse, GO_SKEY), (VerifierKey.parse, GO_VKEY)]
)
def test_every_cut_and_every_changed_character_of_a_key_is_refused(parse, text):
    cuts = {text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1)} - {text}
    changes = {text[:i] + chr(ord(c) ^ 1) + text[i + 1 :] for i, c in enumerate(text)}
    upper = {text.replace("c74f20a3", "C74F20A3")}
    for wrong in cuts | changes | upper:
        with pytest.raises(NoteInvalid):
            parse(wrong)


@pytest.mark.parametrize(
    ("material", "message"),
    [
        (b"", "holds 0 bytes instead of 33"),
        (b"\x01" * 32, "holds 32 bytes instead of 33"),
        (b"\x01" * 34, "holds 34 bytes instead of 33"),
        (b"\x00" * 33, "type 0x00; types 0x01 and 0x04 are known"),
        (b"\x06" * 33, "type 0x06; types 0x01 and 0x04 are known"),
    ],
)
def test_a_key_of_another_type_or_length_is_refused_though_its_hash_is_right(material, message):
    id_ = sha256(b"name\n" + material).hexdigest()[:8]
    text = f"name+{id_}+{b64encode(material).decode()}"
    for parse, wrong in ((VerifierKey.parse, text), (SigningKey.parse, f"PRIVATE+KEY+{text}")):
        with pytest.raises(NoteInvalid, match=message):
            parse(wrong)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "a\u00a0b", "\u2003", "a\x00", "\ud800"])
def test_names_have_no_white_space_and_no_plus(name):
    with pytest.raises(NoteInvalid):
        SigningKey.generate(name)
    with pytest.raises(NoteInvalid):
        Checkpoint(name, 0, bytes(32))


def test_only_to_text_shows_the_seed():
    key = SigningKey.parse(GO_SKEY)
    seed = b64decode(GO_SECRET)[1:]
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr(vars(key))):
        assert GO_SECRET not in shown
        assert repr(seed)[2:-1] not in shown
        assert seed.hex() not in shown


@pytest.mark.parametrize("parse", [SigningKey.parse, VerifierKey.parse, Note.parse])
def test_no_refusal_quotes_a_private_key(parse):
    for wrong in (GO_SKEY + "A", GO_SKEY.replace("c74f", "c74e"), GO_SKEY[8:], f"{GO_SKEY}\n"):
        with pytest.raises(NoteInvalid) as refused:
            parse(wrong)
        assert GO_SECRET[:12] not in str(refused.value)


# Notes


def test_a_signed_checkpoint_opens():
    assert NOTE.to_text().startswith(f"log\n7\n{b64encode(bytes(range(32))).decode()}\n\n— log ")
    assert open_checkpoint(NOTE.to_text(), LOG.verifier) == CHECKPOINT
    assert open_checkpoint(NOTE.to_text().encode(), ROTATED.verifier, LOG.verifier) == CHECKPOINT


def test_every_flipped_bit_is_refused():
    note = NOTE.to_text().encode()
    for position in range(len(note) * 8):
        flipped = bytearray(note)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(NoteInvalid):
            open_checkpoint(bytes(flipped), LOG.verifier)


def test_every_changed_added_or_missing_character_is_refused():
    note = NOTE.to_text()
    alphabet = [
        *map(chr, range(128)),
        "\u0085",
        "\u00a0",
        "\u2028",
        "\u2013",
        "—",
        "\u0667",
        "\ud800",
    ]
    for i, old in enumerate(note):
        wrong = [note[:i] + new + note[i + 1 :] for new in alphabet if new != old]
        wrong += [note[:i] + new + note[i:] for new in ("\n", " ", "\r", "=", "A", old)]
        wrong += [note[:i] + note[i + 1 :], note[:i], note[i + 1 :]]
        for changed in wrong:
            with pytest.raises(NoteInvalid):
                open_checkpoint(changed, LOG.verifier)


def test_what_follows_a_note_is_refused():
    for tail in ("\n", " ", "x", "x\n", "\n\n", "— log\n", NOTE.to_text()):
        with pytest.raises(NoteInvalid):
            open_checkpoint(NOTE.to_text() + tail, LOG.verifier)


def test_a_second_spelling_of_base64_is_refused():
    line = NOTE.signatures[0].line  # 68 bytes: the last character carries two unused bits
    assert line.endswith("=")
    loose = line[:-2] + chr(ord(line[-2]) + 1) + "="
    assert b64decode(loose.split(" ")[2]) == b64decode(line.split(" ")[2])
    for spelling in (loose, line.rstrip("="), line + "=", line.replace("= ", "=\n")[:-1] + "\n="):
        with pytest.raises(NoteInvalid):
            noted(spelling)
    urlsafe = recoded(line, lambda _: b"\xff" * 68).replace("/", "_")
    with pytest.raises(NoteInvalid, match="not canonical base64"):
        noted(urlsafe)
    with pytest.raises(NoteInvalid, match="root hash is not canonical base64"):
        Checkpoint.parse(f"log\n7\n{b64encode(bytes(32)).decode()[:-2]}B=\n")


def test_a_text_may_hold_empty_lines_and_look_like_a_note():
    text = f"\n\n{NOTE.to_text()}\n\n"
    note = sign_note(text, ROTATED)
    again = Note.parse(note.to_text())
    assert again == note
    assert again.text == text
    assert again.signed_by(ROTATED.verifier)
    assert not again.signed_by(LOG.verifier)


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\x00\n", "a\r\n", "\ud800\n"])
def test_what_cannot_be_a_note_is_not_signed(text):
    with pytest.raises(NoteInvalid):
        LOG.sign(text)
    with pytest.raises(NoteInvalid):
        sign_note(text, LOG)
    with pytest.raises(NoteInvalid):
        WITNESS.cosign(text, NOW)


def test_signatures_of_unknown_keys_are_ignored_whatever_they_hold():
    line = NOTE.signatures[0].line
    note = noted(
        "— stranger AAAAAAA=",
        ROTATED.sign(NOTE.text),
        corrupted(line).replace(" log ", " gol "),  # its id under another name
        recoded(line, lambda raw: bytes(4) + raw[4:]),  # its name with another id
        line,
    )
    assert note.signed_by(LOG.verifier)
    assert open_checkpoint(note.to_text(), LOG.verifier) == CHECKPOINT
    assert not note.signed_by(SigningKey.generate("stranger").verifier)


def test_one_false_line_of_a_known_key_rejects_the_note():
    good, false = LOG.sign(NOTE.text), corrupted(LOG.sign(NOTE.text))
    for lines in ((false,), (good, false), (false, good)):
        with pytest.raises(NoteInvalid, match="signature of 'log' does not verify"):
            noted(*lines).signed_by(LOG.verifier)
    # Also where another known key, before or after it, has signed.
    note = noted(ROTATED.sign(NOTE.text), false).to_text()
    for keys in ((LOG, ROTATED), (ROTATED, LOG)):
        with pytest.raises(NoteInvalid, match="does not verify"):
            open_checkpoint(note, *(key.verifier for key in keys))
    assert open_checkpoint(note, ROTATED.verifier) == CHECKPOINT


@pytest.mark.parametrize("length", [1, 7, 8, 63, 65, 71, 73, 1000])
def test_a_signature_of_another_length_does_not_verify(length):
    for key in (LOG.verifier, WITNESS.verifier):
        note = Note(NOTE.text, (Signature(key.name, key.key_id, b"\x01" * length),))
        with pytest.raises(NoteInvalid):
            Note.parse(note.to_text()).signed_by(key)


def test_a_signature_is_not_doubled_by_the_order_of_the_group():
    # S + L verifies where the range of S is not checked: one signature would have many spellings.
    order = 2**252 + 27742317777372353535851937790883648493

    def shifted(raw: bytes) -> bytes:
        return raw[:-32] + (int.from_bytes(raw[-32:], "little") + order).to_bytes(32, "little")

    with pytest.raises(NoteInvalid, match="does not verify"):
        noted(recoded(LOG.sign(NOTE.text), shifted)).signed_by(LOG.verifier)


def test_the_number_of_signatures_is_limited():
    line = NOTE.signatures[0].line
    assert noted(*[line] * MOST_SIGNATURES).signed_by(LOG.verifier)
    with pytest.raises(NoteInvalid, match="1 to 100 signatures, not 101"):
        noted(*[line] * (MOST_SIGNATURES + 1))
    with pytest.raises(NoteInvalid, match="1 to 100 signatures, not 0"):
        sign_note("text\n")


# Cosignatures


def test_a_cosignature_is_a_time_and_a_signature_over_it_and_the_text():
    note = cosign(NOTE, WITNESS, NOW)
    assert note.signatures[:-1] == NOTE.signatures
    raw = note.signatures[-1].raw
    assert raw[:8] == NOW.to_bytes(8, "big")
    message = b"cosignature/v1\ntime 1700000000\n" + NOTE.text.encode()
    Ed25519PublicKey.from_public_bytes(WITNESS.verifier.public).verify(raw[8:], message)

    again = Note.parse(note.to_text())
    assert again.cosigned_at(WITNESS.verifier) == NOW
    assert again.signed_by(WITNESS.verifier)
    assert open_checkpoint(note.to_text(), LOG.verifier) == CHECKPOINT
    assert NOTE.cosigned_at(WITNESS.verifier) is None


def test_the_example_of_the_specification_is_read():
    note = Note.parse(SPEC_COSIGNED)
    assert note.to_text() == SPEC_COSIGNED
    assert Checkpoint.parse(note.text).size == 20852163
    assert int.from_bytes(note.signatures[1].raw[:8], "big") == 1679315147
    assert len(note.signatures[1].raw) == 72


def test_the_latest_cosignature_counts_and_each_must_verify():
    note = cosign(cosign(cosign(NOTE, WITNESS, NOW), WITNESS, NOW + 9), WITNESS, NOW + 5)
    assert note.cosigned_at(WITNESS.verifier) == NOW + 9
    line = WITNESS.cosign(NOTE.text, NOW)
    later = recoded(line, lambda raw: raw[:4] + (NOW + 1).to_bytes(8, "big") + raw[12:])
    for false in (later, corrupted(line)):
        with pytest.raises(NoteInvalid, match="does not verify"):
            note.with_line(false).cosigned_at(WITNESS.verifier)


@pytest.mark.parametrize("at", [-1, MOST_SECONDS + 1])
def test_a_time_out_of_range_is_neither_signed_nor_read(at):
    with pytest.raises(NoteInvalid, match="not a time"):
        cosign(NOTE, WITNESS, at)
    raw = (at % 2**64).to_bytes(8, "big") + bytes(64)
    line = Signature(WITNESS.name, WITNESS.verifier.key_id, raw).line
    with pytest.raises(NoteInvalid, match="out of range"):
        noted(line).cosigned_at(WITNESS.verifier)


def test_the_ends_of_time_can_be_cosigned():
    for at in (0, MOST_SECONDS):
        assert cosign(NOTE, WITNESS, at).cosigned_at(WITNESS.verifier) == at


def test_only_a_checkpoint_is_cosigned():
    with pytest.raises(NoteInvalid, match="exactly three lines"):
        cosign(PROMISE_NOTE, WITNESS, NOW)


def test_one_key_pair_of_two_kinds_is_two_keys():
    material = bytes(range(32))
    private = Ed25519PrivateKey.from_private_bytes(material)
    log, witness = (
        SigningKey(VerifierKey("log", kind, private.public_key().public_bytes_raw()), private)
        for kind in KeyKind
    )
    assert log.verifier.key_id != witness.verifier.key_id
    signed, cosigned = noted(log.sign(NOTE.text)), noted(witness.cosign(NOTE.text, NOW))
    assert not signed.signed_by(witness.verifier)
    assert signed.cosigned_at(witness.verifier) is None
    assert not cosigned.signed_by(log.verifier)

    # With the id of the other kind, the line is a false one of a known key.
    as_witness = recoded(log.sign(NOTE.text), lambda raw: witness.verifier.key_id + raw[4:])
    timed = recoded(as_witness, lambda raw: raw[:4] + NOW.to_bytes(8, "big") + raw[4:])
    cosignature = witness.cosign(NOTE.text, NOW)
    as_log = recoded(cosignature, lambda raw: log.verifier.key_id + raw[4:])
    untimed = recoded(as_log, lambda raw: raw[:4] + raw[12:])
    for line, key in ((as_witness, witness), (timed, witness), (as_log, log), (untimed, log)):
        with pytest.raises(NoteInvalid):
            noted(line).signed_by(key.verifier)


def test_each_kind_of_key_does_its_own_work_only():
    with pytest.raises(NoteInvalid, match="only cosigns"):
        WITNESS.sign(NOTE.text)
    with pytest.raises(NoteInvalid, match="cannot cosign"):
        cosign(NOTE, LOG, NOW)
    with pytest.raises(NoteInvalid, match="cannot cosign"):
        NOTE.cosigned_at(LOG.verifier)
    namesake = SigningKey.generate("log", KeyKind.COSIGNATURE)
    with pytest.raises(NoteInvalid, match="cannot sign for a log"):
        open_checkpoint(cosign(NOTE, namesake, NOW).to_text(), namesake.verifier)


# Checkpoints


@pytest.mark.parametrize("size", [0, 1, 10, MOST_LEAVES])
def test_checkpoints_survive_being_written(size):
    checkpoint = Checkpoint("example.com/log42", size, bytes(32))
    assert Checkpoint.parse(checkpoint.to_text()) == checkpoint


@pytest.mark.parametrize(
    "size",
    ["", "-1", "+1", "01", "00", " 1", "1 ", "1_0", "1.0", "\u0667", "0x1", str(2**63), "9" * 5000],
)
def test_a_size_has_one_spelling_and_fits_63_bits(size):
    with pytest.raises(NoteInvalid, match="the size is"):
        Checkpoint.parse(f"log\n{size}\n{b64encode(bytes(32)).decode()}\n")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_root_hash_has_32_bytes(length):
    with pytest.raises(NoteInvalid, match=f"has {length} bytes instead of 32"):
        Checkpoint.parse(f"log\n7\n{b64encode(bytes(length)).decode()}\n")


@pytest.mark.parametrize("change", ["{}extension\n", "{}\n", "\n{}", "x\n{}", "{}{}"])
def test_a_checkpoint_is_three_lines(change):
    with pytest.raises(NoteInvalid, match="extension lines are refused"):
        Checkpoint.parse(change.format(CHECKPOINT.to_text(), CHECKPOINT.to_text()))


def test_a_checkpoint_is_signed_and_opened_under_its_origin_only():
    other = SigningKey.generate("other")
    for keys in ((other,), (LOG, other)):
        with pytest.raises(NoteInvalid, match="for 'log' to sign, not for 'other'"):
            sign_checkpoint(CHECKPOINT, *keys)
    note = sign_note(CHECKPOINT.to_text(), other)
    with pytest.raises(NoteInvalid, match="for 'log' to sign, not for 'other'"):
        open_checkpoint(note.to_text(), other.verifier, LOG.verifier)
    with pytest.raises(NoteInvalid, match="none of the known keys"):
        open_checkpoint(note.to_text(), LOG.verifier)
    with pytest.raises(NoteInvalid, match="none of the known keys"):
        open_checkpoint(NOTE.to_text())


def test_both_keys_of_a_rotation_sign():
    note = sign_checkpoint(CHECKPOINT, LOG, ROTATED).to_text()
    for key in (LOG, ROTATED):
        assert open_checkpoint(note, key.verifier) == CHECKPOINT


# Promises


def test_a_promise_reads_as_it_was_made():
    assert PROMISE.to_text() == (
        "forge-promise/v1\n"
        "log\n"
        "leaf 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
        "command did:example:alice/0198c0de-0000-7000-8000-000000000001\n"
        "accepted 2026-01-31T23:59:59.000001Z\n"
        "sealed-by 2026-02-01T00:00:59.000001Z\n"
    )
    assert Promise.parse(PROMISE.to_text()) == PROMISE
    assert open_promise(PROMISE_NOTE.to_text(), PROMISES.verifier) == PROMISE


def test_every_flipped_bit_of_a_promise_is_refused():
    note = PROMISE_NOTE.to_text().encode()
    for position in range(len(note) * 8):
        flipped = bytearray(note)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(NoteInvalid):
            open_promise(bytes(flipped), PROMISES.verifier)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/v1", "/v2"),
        ("log\n", "\n"),
        ("log\n", "a log\n"),
        ("leaf 00", "leaf "),
        ("leaf 00", "leaf 0000"),
        ("0a0b", "0A0B"),
        ("command ", "command"),
        ("did:example:alice/", "/"),
        ("did:example:alice/", ""),
        ("alice/", "al ice/"),
        ("c0de", "C0DE"),
        ("0198c0de-", "0198c0de"),
        ("0198c0de-", "{0198c0de-"),
        ("000001\n", "00000g\n"),
        ("59.000001Z\ns", "60.000001Z\ns"),
        ("59.000001Z\ns", "59.00001Z\ns"),
        ("59.000001Z\ns", "59.0000010Z\ns"),
        ("59.000001Z\ns", "59Z\ns"),
        ("59.000001Z\ns", "59.000001\ns"),
        ("59.000001Z\ns", "59.000001z\ns"),
        ("59.000001Z\ns", "59.000001+00:00\ns"),
        ("59.000001Z\ns", "59.000001+00:00Z\ns"),
        ("-31T", "-32T"),
        ("-31T", "-31 "),
        ("2026-01-31", "20260131"),
        ("2026-01-31", "2026-W05-6"),
        ("2026-02-01T00:00:59.000001Z", "2026-01-31T23:59:59.000000Z"),
        ("sealed-by", "sealed by"),
        ("Z\n", "Z"),
        ("Z\n", "Z\n\n"),
        ("accepted", "more\naccepted"),
    ],
)
def test_a_promise_has_one_spelling(old, new):
    assert old in PROMISE.to_text()
    with pytest.raises(NoteInvalid):
        Promise.parse(PROMISE.to_text().replace(old, new))


def test_a_promise_is_signed_and_opened_by_the_key_for_promises_only():
    with pytest.raises(NoteInvalid, match="for 'log/promises' to sign, not for 'log'"):
        sign_promise(PROMISE, LOG)
    note = sign_note(PROMISE.to_text(), LOG).to_text()
    with pytest.raises(NoteInvalid, match="for 'log/promises' to sign, not for 'log'"):
        open_promise(note, LOG.verifier)
    with pytest.raises(NoteInvalid, match="none of the known keys"):
        open_promise(note, PROMISES.verifier)


def test_a_promise_is_no_checkpoint_and_a_checkpoint_no_promise():
    with pytest.raises(NoteInvalid, match="exactly three lines"):
        open_checkpoint(PROMISE_NOTE.to_text(), PROMISES.verifier)
    note = sign_note(CHECKPOINT.to_text(), PROMISES).to_text()
    with pytest.raises(NoteInvalid, match="exactly six lines"):
        open_promise(note, PROMISES.verifier)
    with pytest.raises(NoteInvalid, match="for 'log' to sign"):
        open_checkpoint(note, PROMISES.verifier)


# Whatever comes in


PIECES = st.sampled_from(
    [
        *(
            "\n",
            "\n\n",
            " ",
            "— ",
            "+",
            "=",
            "PRIVATE+KEY+",
            "\x00",
            "\ud800",
            "\u0667",
            "\u2028",
            "-7",
        ),
        *(GO_SKEY, GO_VKEY, GO_LINE, *NOTE.to_text().split(" "), NOTE.text, *NOTE.text.split("\n")),
        *(PROMISE.to_text(), *PROMISE.to_text().split("\n"), f"{NOTE.signatures[0].line}\n"),
        *("9" * 5000, b64encode(bytes(33)).decode(), f"name+00000000+{'A' * 44}"),
    ]
)
TEXTS = st.one_of(
    st.text(alphabet=st.characters()),
    st.text().map("{}\n".format),
    st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=8).map("".join),
)
ANYTHING = st.one_of(st.binary(), TEXTS)


@pytest.mark.parametrize(
    "parse", [Note.parse, SigningKey.parse, VerifierKey.parse, Checkpoint.parse, Promise.parse]
)
@given(given_=ANYTHING)
def test_whatever_comes_in_is_refused_by_name_or_written_back_as_it_was(parse, given_):
    with suppress(NoteInvalid):
        text = parse(given_).to_text()
        assert text == given_ if isinstance(given_, str) else text.encode() == given_


@given(ANYTHING)
def test_whatever_is_opened_is_refused_by_name_or_was_signed(given_):
    with suppress(NoteInvalid):
        assert open_checkpoint(given_, LOG.verifier) == CHECKPOINT
    with suppress(NoteInvalid):
        assert open_promise(given_, PROMISES.verifier) == PROMISE


@given(TEXTS)
def test_what_is_signed_can_be_read_back(text):
    with suppress(NoteInvalid):
        note = sign_note(text, LOG)
        assert Note.parse(note.to_text()) == note
        assert Note.parse(note.to_text().encode()).signed_by(LOG.verifier)


def test_the_error_is_one_of_the_house():
    assert issubclass(NoteInvalid, ForgeError)
    assert issubclass(NoteInvalid, ValueError)
    assert NoteInvalid.code == "NOTE_INVALID"
