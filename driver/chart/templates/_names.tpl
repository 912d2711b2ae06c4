{{/* What everything is called: the community chart's names, so that its manifests and dashboards find them. */}}
{{- define "driver.name" -}}
{{- .Values.fullnameOverride | default .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "driver.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* Takes a dict of root and component. */}}
{{- define "driver.serviceAccount" -}}
{{- $name := include "driver.name" .root -}}
{{- printf "%s-%s" (.root.Values.serviceAccount.name | default (printf "%s-service-account" $name)) .component -}}
{{- end -}}

{{- define "driver.labels" -}}
app.kubernetes.io/name: {{ include "driver.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "driver.featureGates" -}}
{{- $pairs := list -}}
{{- range $name := keys .Values.featureGates | sortAlpha -}}
{{- $pairs = append $pairs (printf "%s=%t" $name (index $.Values.featureGates $name)) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{- define "driver.portOf" -}}
{{- splitList ":" . | last -}}
{{- end -}}
