"""The base of the operators: a source of rows, a collection, and counts as outputs."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import XCOM_RETURN_KEY, BaseOperator, Stats, XComArg
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

from airflow_provider_milvus_rest.exceptions import InputError
from airflow_provider_milvus_rest.hooks.errors import final_errors
from airflow_provider_milvus_rest.hooks.milvus_rest import MilvusRestHook
from airflow_provider_milvus_rest.ingest.checkpoint import Checkpoint
from airflow_provider_milvus_rest.ingest.report import Report
from airflow_provider_milvus_rest.operators import mapped, sources
from airflow_provider_milvus_rest.options import DEFAULTS, Options
from airflow_provider_milvus_rest.rows.files import Files
from airflow_provider_milvus_rest.rows.readers import FileRows

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_OPTIONS = [name for name in vars(DEFAULTS) if name != "rejects"]
_DEFAULT_IF_NONE = {"db_name": "the connection's database", "partition_name": "the default partition"}
"""What None means."""


class MilvusRestRowsOperator(BaseOperator):
    """Processes a source of rows and outputs the counts, even if it fails.

    The parameters are those of :class:`~airflow_provider_milvus_rest.operators.milvus_rest.MilvusRestUpsertOperator`.

    :param options: the other settings. Each becomes an attribute, so that a cluster policy can change it.
    """

    template_fields: Sequence[str] = (
        *("collection_name", "db_name", "partition_name", "files", "source_conn_id", "milvus_rest_conn_id"),
    )
    ui_color = "#c6eafb"
    _folder: ClassVar[str]
    """The parameter that names the folder for a file of rows."""
    _expand_input: ClassVar[str] = "expand_input"
    """Airflow's attribute of a mapped task that has its mapped arguments."""

    def __init__(
        self,
        *,
        collection_name: str,
        entities: Any,
        files: Files | XComArg | None,
        file_format: str | None,
        source_conn_id: str | None,
        db_name: str | None,
        milvus_rest_conn_id: str,
        options: Options,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self._default_args = kwargs.get("default_args") or {}
        with final_errors():
            self._check_source(entities=entities, files=files, source_conn_id=source_conn_id, file_format=file_format)
            sources.check_format(file_format)
            sources.refuse_text(entities)
            sources.refuse_outputs_in_rows(entities)
            self.files = sources.as_paths(files)
        for name in _OPTIONS:
            setattr(self, name, getattr(options, name))
        self.collection_name = collection_name
        self.entities = entities
        self.file_format = file_format
        self.source_conn_id = source_conn_id
        self.db_name = db_name
        self.milvus_rest_conn_id = milvus_rest_conn_id
        self._killed = False
        self._given_files = self.files  # with the references, which rendering replaces
        # A template field would do this automatically, but would also render every vector into the database.
        for reference in sources.references(entities):
            XComArg.apply_upstream_relationship(self, reference)

    def _check_source(self, *, entities: Any, files: Any, **file_parameters: Any) -> None:
        """Refuse arguments that do not specify one source of rows."""
        if (entities is None) == (files is None):
            hint = " In a mapped task, None counts as not set: use .map(lambda o: o.get('rejects_path') or [])."
            problem = f"Task {self.task_id!r}: set exactly one of entities and files."
            raise InputError(problem + hint if files is None else problem)
        if files is None and any(value is not None for value in file_parameters.values()):
            names = " and ".join(file_parameters)
            raise InputError(
                f"Task {self.task_id!r}: {names} can only be used with files. If default_args sets them, set None here."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Share what can be read only once: Python cannot copy it, and Airflow copies DAGs, such as to clear tasks."""
        memo.update((id(source), source) for source in [*sources.one_time(self.entities), *sources.one_time_files()])
        return super().__deepcopy__(memo)

    def _mapped_values(self, given: Mapping[str, Any]) -> list[Any]:
        """The mapped values that Airflow may render; ``given`` is what ``.partial()`` received."""
        found = {name: getattr(self, name) for name in self.template_fields if name not in given}
        return [value for name, value in found.items() if value is not self._default_args.get(name)]

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: "Context", jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render the templates of the DAG, and only those."""
        task: Any = self.dag.task_dict.get(self.task_id) if self.has_dag() else None
        given = {name: getattr(self, name) for name in _DEFAULT_IF_NONE}
        if hasattr(task, "partial_kwargs"):
            arguments = getattr(task, self._expand_input).value
            with final_errors():
                mapped.refuse_iterators(arguments)
            values = self._mapped_values(task.partial_kwargs)
            mapped.keep_outputs(arguments, values, context["ti"].map_index, seen_oids)
            given |= mapped.outputs(task.expand_input.value)
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        for name, default in _DEFAULT_IF_NONE.items():
            if given[name] is not None and getattr(self, name) is None:
                with final_errors():
                    raise InputError(f"{name}: the task's output or the template is None. For {default}, omit {name}.")

    def _report(self) -> Report:
        raise NotImplementedError

    def _options(self, rejects: Any) -> Options:
        """The attributes as they are now: rendered, and perhaps set by a cluster policy."""
        return Options(rejects=rejects, **{name: getattr(self, name) for name in _OPTIONS})

    def _begin(self, uri: str, files: list[str], report: Report) -> None:
        """Called before the first row is read."""

    def _end(self, context: "Context", report: Report) -> None:
        """Called after a successful run."""

    def _checkpoint(self, context: "Context", rows: Any) -> Checkpoint | None:
        return None

    @cached_property
    def hook(self) -> MilvusRestHook:
        """The hook for the task's connection."""
        return MilvusRestHook(self.milvus_rest_conn_id)

    def execute(self, context: "Context") -> dict[str, Any]:
        """Process all rows and return the outputs."""
        report, hook = self._report(), self.hook
        if self._killed:  # possibly while the hook was created
            hook.stop()
        try:
            with final_errors():
                rows = self._rows(context)
                rejects = sources.rejects_file(self._folder, getattr(self, self._folder), context, self.task_id)
                options = self._options(rejects)
                checkpoint = self._checkpoint(context, rows)
                uri = hook.collection_uri(self.collection_name, self.db_name)
            self._begin(uri, rows.names if isinstance(rows, FileRows) else [], report)
            hook.run(self.collection_name, rows, options, report, self.db_name, checkpoint)
        except BaseException:
            self._push(context, _storable(report.outputs()))  # a failing task returns nothing
            raise
        finally:
            hook.close()
            self._killed = False
            self._measure(report)
        if not report.read_count:
            self.log.info("The source is empty.")
        self._end(context, report)
        return _storable(report.outputs())

    def _measure(self, report: Report) -> None:
        """Send the rows by outcome and the duration as Airflow metrics."""
        tags = {"collection": self.collection_name}
        with suppress(Exception):  # metrics must not fail the task
            for part in report.parts:
                if count := getattr(report, f"{part}_count"):
                    Stats.incr(f"milvus_rest.rows.{part}", count, tags=tags)
            Stats.timing("milvus_rest.seconds", report.duration_seconds, tags=tags)

    def on_kill(self) -> None:
        """Make :meth:`execute` end. Airflow calls this when the task must stop, and kills the task 5 s later."""
        self._killed = True
        if "hook" in vars(self):  # created on first use, after the connection's name is rendered
            self.hook.stop()

    def _rows(self, context: "Context") -> Iterable[Any] | FileRows:
        if self.entities is None:
            found = sources.rendered_files(self._given_files, self.files, context)
            files = sources.find(found, self.source_conn_id, self.file_format)
            count = "1 file" if len(files) == 1 else f"{len(files)} files"
            names = ", ".join(file.name for file in files[:10])
            self.log.info("Reading %s%s", count, f": {names}" if names else "")
            return FileRows(files)
        sources.refuse_unordered(self.entities, self.task_id, self.upstream_task_ids)
        entities = sources.resolve(self.entities, context) if sources.is_reference(self.entities) else self.entities
        sources.refuse_second_reading(entities)
        if isinstance(entities, list) and all(isinstance(entity, Mapping) for entity in entities):
            return entities
        return sources.iter_entities(entities, context)

    def _push(self, context: "Context", outputs: dict[str, Any]) -> None:
        """Push the outputs of a failing task. If that fails too, only log it: the task's own error matters more."""
        ti = context.get("ti")
        if ti is None or not self.do_xcom_push:
            return
        try:
            for key, value in (outputs | {XCOM_RETURN_KEY: outputs}).items():
                ti.xcom_push(key, value)
        except Exception:
            self.log.exception("Could not push the outputs: %s", outputs)


def _storable(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs that Airflow can store as XComs: the API of 3.0 refuses None (HTTP 422)."""
    if AIRFLOW_V_3_1_PLUS or not AIRFLOW_V_3_0_PLUS:
        return outputs
    return {key: value for key, value in outputs.items() if value is not None}
