from lightspeed.telemetry.splunk_events import InferEvent, ResponsesEvent


def test_an_event_of_infer_has_the_fields_of_the_contract() -> None:
    event = InferEvent(
        "infer_error",
        question="How?",
        response="ProviderUnavailable",
        inference_time=1.5,
        model="granite",
        deployment="production",
        request_id="id-1",
        cla_version="cla/0.5",
    )
    assert event.fields() == {
        "question": "How?",
        "refined_questions": [],
        "context": "",
        "response": "ProviderUnavailable",
        "inference_time": 1.5,
        "model": "granite",
        "deployment": "production",
        "org_id": "auth_disabled",
        "system_id": "auth_disabled",
        "total_llm_tokens": 0,
        "request_id": "id-1",
        "cla_version": "cla/0.5",
        "system_os": "",
        "system_version": "",
        "system_arch": "",
    }


def test_an_event_of_responses_has_the_fields_of_the_contract() -> None:
    event = ResponsesEvent(
        "responses_completed",
        input_text="How?",
        response_text="So.",
        conversation_id="c1",
        inference_time=0.5,
        model="p/m",
        deployment="development",
        total_llm_tokens=7,
        org_id="o",
        system_id="s",
        user_agent="agent\r\n\x1b[0m" + "x" * 200,
    )
    fields = dict(event.fields())
    assert fields.pop("user_agent") == ("agent[0m" + "x" * 200)[:128]
    assert fields == {
        "input_text": "How?",
        "response_text": "So.",
        "conversation_id": "c1",
        "inference_time": 0.5,
        "model": "p/m",
        "deployment": "development",
        "org_id": "o",
        "system_id": "s",
        "total_llm_tokens": 7,
    }
