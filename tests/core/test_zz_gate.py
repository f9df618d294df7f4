from tests.core.test_enforcement_machine import *
from tests.core.test_enforcement_machine import republic  # noqa
def test_gate(servers, republic):
    m = Machine(servers, republic)
    try:
        id_ = m.voted("cora", ("configuration", {"key": "difficulty", "new_value": 5}))
        m.come_due(id_); m.sweep(); m.everything_holds()
        assert m.model.proposals[id_].status == "approved"
        m.all_review(id_, 0)
        m.jointly("quarantine", "rose", ("colin", "gus"))   # a yes-voter, sixth reviewer
        m.everything_holds()
        n = 0
        for who in ["cora", "colin", "gus", "otto", "rita"]:
            if m.model.proposals[id_].status == "approved":
                exp = m.model.sign_off(id_, who); m.command("enforcement.sign_off", who, {"proposal_id": id_}, exp); n += 1
        print("signed", n, m.model.proposals[id_].status, m.house.status(id_))
        m.come_due(id_); m.execute(); m.everything_holds()
        print(m.house.status(id_), m.house.entries("execution.refused"))
    finally:
        m.house.close(); drop_database(m.house.server, m.house.name)
