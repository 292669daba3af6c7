"""``GET /metrics``: what Prometheus is told, to whoever has a key that allows everything."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from facefusion.server.access import Principal, allows
from facefusion.server.state import Service

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, principal: Principal = Depends(allows("admin"))) -> Response:
    """All metrics, in Prometheus's format.

    Raises
    ------
    ExtraMissing
    """
    from facefusion.service.exposition import CONTENT_TYPE

    service: Service = request.app.state.service
    return Response(service.get_exposition().text(), media_type=CONTENT_TYPE)
